package indicator

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"

	"sakimori/observe/feed/reading"
)

// looked is how many bytes of a file tell its format.
const looked = 16 << 10

// peek gives the first bytes of a file, and a reader that still has them.
func peek(r io.Reader) ([]byte, io.Reader, error) {
	in := bufio.NewReaderSize(r, looked)
	head, err := in.Peek(looked)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		if len(head) == 0 {
			return nil, nil, err //nolint:wrapcheck // that of the reader that was handed in
		}
	}
	return head, in, nil
}

func isJSON(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	return len(head) > 0 && (head[0] == '{' || head[0] == '[' && bytes.IndexAny(head, `{"`) > 0)
}

// Detect tells the format of a file from its name and its first bytes, unpacked. What
// could be two things is an error that says which can be named.
func Detect(name string, head []byte) (Format, error) {
	lower := strings.ToLower(name[strings.LastIndexAny(name, `/\`)+1:])
	switch {
	case len(bytes.TrimSpace(head)) == 0:
		return Plain, nil // an empty list is a list
	case bytes.IndexByte(head, 0) >= 0:
		return "", reading.Damaged(nil, "テキストではありません", "this isn't text: a list is")
	case isJSON(head):
		return detectJSON(head)
	}
	text := string(bytes.ToLower(head))
	switch {
	case strings.Contains(text, "maltrail developers"):
		return Maltrail, nil
	case strings.Contains(text, "bambenek"):
		return Bambenek, nil
	case strings.Contains(text, "spamhaus drop") || strings.Contains(text, "spamhaus edrop"):
		return Drop, nil
	case has(text, "ioc_value", "threat_type"):
		return ThreatFox, nil
	case has(text, "dateadded", "url_status"):
		return URLhaus, nil
	case has(text, "dst_ip", "c2_status"):
		return Feodo, nil
	case strings.HasPrefix(strings.TrimSpace(text), "<"):
		return "", reading.Damaged(nil, "HTML または XML です。一覧のファイルを指定してください", "this is HTML or XML, not a list: name the file that holds the list itself")
	}
	return detectLines(lower, head)
}

func has(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// detectJSON tells JSON apart by the names in it.
func detectJSON(head []byte) (Format, error) {
	h := string(head)
	switch {
	case has(h, `"matching_attributes"`, `"list"`), has(h, `"description"`, `"list": [`):
		return "", reading.Damaged(nil, "MISP の warninglist（除外リスト）です。ブロック対象の一覧ではありません", "this is a warninglist of MISP's: of exceptions, not of what is to be blocked")
	case has(h, `"ioc_value"`, `"threat_type"`), has(h, `"query_status"`, `"data"`), has(h, `"ioc_type"`, `"threat_type"`):
		return ThreatFox, nil
	case has(h, `"ip_address"`, `"first_seen"`, `"malware"`):
		return Feodo, nil
	case strings.Contains(h, `"bundle"`) && strings.Contains(h, `"type"`), has(h, `"objects"`, `"more"`), has(h, `"objects"`, `"type"`):
		return STIX, nil
	case strings.Contains(h, `"Event"`), strings.Contains(h, `"Attribute"`), has(h, `"threat_level_id"`, `"analysis"`), has(h, `"to_ids"`, `"category"`):
		return MISP, nil
	}
	return "", reading.Damaged(nil, "どの形式の JSON か分かりません。threatfox、feodo、misp、stix のいずれかを --format で指定してください",
		"it can't be told which JSON this is: name the format threatfox, feodo, misp or stix")
}

// detectLines tells hosts files from plain lists: the first values must all be of one.
func detectLines(name string, head []byte) (Format, error) {
	if i := bytes.LastIndexByte(head, '\n'); i > 0 && len(head) >= looked {
		head = head[:i]
	}
	hosts, plain, others := 0, 0, 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(head), "\ufeff"), "\n") {
		value, _ := comment(line)
		fields := strings.Fields(value)
		switch {
		case len(fields) == 0:
			continue
		case len(fields) == 1 && !strings.ContainsAny(value, `,|"`):
			plain++
		case len(fields) >= 2 && isAddress(fields[0]) && !strings.ContainsAny(value, `,|"`) && !isAddress(fields[1]):
			hosts++
		default:
			others++
		}
		if hosts+plain+others >= 100 {
			break
		}
	}
	switch {
	case others == 0 && plain == 0 && hosts > 0:
		return Hosts, nil
	case others == 0 && hosts == 0:
		return Plain, nil
	case strings.HasSuffix(name, ".csv") || others > 0 && hosts == 0:
		return "", reading.Damaged(nil, "表の形式が分かりません。urlhaus、feodo、threatfox、bambenek を --format で指定するか、csv と対応表（--mapping）を使ってください",
			"it can't be told which table this is: name the format urlhaus, feodo, threatfox or bambenek, or csv with a mapping")
	}
	return "", reading.Damaged(nil, "一覧の形式が分かりません。plain、hosts、maltrail、drop のいずれかを --format で指定してください",
		"it can't be told which list this is: name the format plain, hosts, maltrail or drop")
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
