package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/console/api"
	"sakimori/respond/blocklist"
)

// forms are the names of the forms, as one types them.
func forms() (list []string) {
	for _, f := range blocklist.Forms() {
		list = append(list, string(f))
	}
	return list
}

func newCNCImport() *cobra.Command {
	c := newImportFeed(openCommandList)
	c.Use = strings.Replace(c.Use, "feed", "import", 1)
	c.Example = strings.ReplaceAll(c.Example, "import feed", "cnc import")
	return c
}

func newCNCExport() *cobra.Command {
	var f withBook
	var form, out string
	c := &cobra.Command{
		Use: "export --format FORM", Short: "Write what is in force as a signed file / 有効な項目を署名付きで書き出す", Args: noArgs,
		Long: `Writes what is in force for enforcement elsewhere: for resolvers, packet filters, proxies,
sensors. A file stands on a grant in force, says which, and ends with it or after a day;
it holds no more than the grant reaches. With --out FILE its signature is put into
FILE.sig (see: sakimori cnc verify). That it leaves is in the ledger first.

有効な項目を、他の設備で使う形式で書き出します。根拠となる許可とその期限が先頭に示され、許可の
及ぶ範囲のものだけが入ります。--out FILE なら署名は FILE.sig に書きます。`,
		Example: "  sakimori cnc export --format plain --config sakimori.yaml\n  sakimori cnc export --format nftables --out c2.nft --config sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			if !strings.Contains(" "+strings.Join(forms(), " ")+" ", " "+form+" ") {
				return usage("--format %s: use one of %s", form, strings.Join(forms(), ", "))
			}
			cl, err := f.through(c)
			if err != nil {
				return err
			}
			if cl != nil {
				b, sig, err := cl.exported(c.Context(), form)
				if err != nil {
					return err
				}
				return written(c.OutOrStdout(), out, b, sig)
			}
			return f.office(c, func(ctx context.Context, h *office, w io.Writer) error {
				files, err := h.openListFiles()
				if err != nil {
					return err
				}
				x, err := files.Export(ctx, form, 0, whoAmI())
				if err != nil {
					return err
				}
				b, err := io.ReadAll(x.Body)
				if err = errors.Join(err, x.Body.Close()); err != nil {
					return err
				}
				return written(w, out, b, x.Signature)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&form, "format", "plain", strings.Join(forms(), ", "))
	c.Flags().StringVar(&out, "out", "", "file to write; without it to the screen")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(forms(), cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	return c
}

// exported has the running serve make a file, and fetches it with its signature.
func (c *client) exported(ctx context.Context, form string) (file, signature []byte, err error) {
	const path = "/api/v1/cnc/export"
	if file, err = c.raw(ctx, http.MethodGet, path+"?format="+form, nil, "*/*"); err != nil {
		return nil, nil, err
	}
	var made struct {
		Exports []api.CNCExport `json:"exports"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/cnc/exports", nil, &made); err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(file)
	for _, x := range made.Exports {
		if x.Format == form && x.Digest == hex.EncodeToString(sum[:]) {
			signature, err = c.raw(ctx, http.MethodGet, fmt.Sprintf("%s?format=%s&version=%d&part=signature", path, form, x.Version), nil, "*/*")
			return file, signature, err
		}
	}
	return nil, nil, errors.New(say("別の版が作られました。もう一度実行してください", "another version was made meanwhile: try again"))
}

// written puts a file where it is wanted, with its signature beside it.
func written(w io.Writer, out string, file, signature []byte) error {
	if out == "" {
		_, err := w.Write(file)
		return err
	}
	if err := os.WriteFile(out, file, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(out+".sig", signature, 0o600); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, say("%s と %s.sig を書きました。\n", "%s and %s.sig are written.\n"), out, out)
	return err
}

func newCNCVerify() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check a file against its signature / 署名を確かめる", Args: cobra.ExactArgs(1),
		Long: `Checks that FILE is the one that FILE.sig was made for, by the key that is given, and that
it hasn't come to its end. Without --key it is only shown that the file is whole.

FILE が FILE.sig の署名どおりで、期限内であることを確かめます。`,
		Example: "  sakimori cnc verify c2.nft --key 'base64 of the public key'",
		RunE: func(c *cobra.Command, args []string) error {
			sig, err := os.ReadFile(args[0] + ".sig")
			if err != nil {
				return err
			}
			var pub ed25519.PublicKey
			if key != "" {
				if pub, err = base64.StdEncoding.DecodeString(key); err != nil || len(pub) != ed25519.PublicKeySize {
					return usage("--key: give the public key in base64")
				}
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			x, err := blocklist.Verify(sig, f, pub, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), say("正しい: %s 版 %d、%d 件、根拠 %s(%s)、期限 %s、鍵 %s\n", "good: %s version %d, %d entries, on %s (%s), until %s, key %s\n"),
				x.Form, x.Version, x.Entries, x.Basis.Grant, x.Basis.Rule, x.Expires.UTC().Format(time.RFC3339), x.Key)
			return err
		},
	}
	c.Flags().StringVar(&key, "key", "", "public key of who made it, base64")
	return c
}
