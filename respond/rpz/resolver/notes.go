package resolver

import "sakimori/lawful"

// kind is a vendor's files, and what its files can't do.
type kind struct {
	files []string
	notes []note
}

type note struct {
	when func(Site) bool
	text lawful.Text
}

func say(ja, en string) note { return note{text: lawful.Text{JA: ja, EN: en}} }

func (n note) only(when func(Site) bool) note { n.when = when; return n }

var kinds = map[Vendor]kind{
	BIND: {[]string{"named.conf"}, []note{
		say("BIND 9.18 はゾーンを読み終える前から問い合わせに答えます。カナリアが通ってから利用者に向けてください(sakimori rpz canary --once が 0 で終わること)。9.20 では servfail-until-ready の行を有効にします。",
			"BIND 9.18 answers before its zones are loaded: let users come once the canaries pass (sakimori rpz canary --once ends with 0). With 9.20 take the servfail-until-ready line."),
		say("EDE(遮断理由)は 9.18 にありません。9.20 では response-policy の各ゾーンに「ede blocked」を足せます。",
			"9.18 has no EDE on policy answers. With 9.20 add \"ede blocked\" to the zones of response-policy."),
		say("遮断ごとのログは速度を大きく落とすため、数えるには dnstap を使います。", "A log line per block costs most of the speed: count by dnstap."),
	}},
	Unbound: {[]string{"unbound.conf"}, []note{
		say("Unbound 1.17 は TSIG に対応していません。プライマリー側でアドレスを限り、XoT(TLS)を使ってください。",
			"Unbound 1.17 knows no TSIG: let the primary admit it by its address, and use XoT (TLS).").only(func(s Site) bool { return s.Key.Name != "" }),
		say("1.17 は差分で消えたクライアントの規則(optout.)を外しません。rpz.peers に vendor: unbound と書いてください。消えるときはゾーン全体が送られ、10 万件で 0.3 秒ほど答えが止まります。",
			"1.17 keeps a client's rule (optout.) that a difference takes away: say vendor: unbound in rpz.peers. Where one goes, the zone is sent whole; with 100,000 clients answers stop for some 0.3 s."),
		say("num-threads 2 以上と so-reuseport: no を変えないでください。変更のたびに zonefile を書くスレッドは、100 万規則で 0.6 秒以上答えません。1.26 は差分 5 回ごとに全転送をするとされます(1.17 はしません)。",
			"Keep num-threads at 2 or more and so-reuseport: no: after each change one thread writes the zonefile, and answers nobody for 0.6 s and more with a million rules. 1.26 is said to take a whole zone after five differences; 1.17 doesn't."),
		say("Unbound 1.17 は遮断に EDE を付けません。", "Unbound 1.17 puts no EDE on what it blocks."),
		say("大きなゾーンの転送中は答えが数秒止まることがあります。プールの全台に同時に通知しないでください(プライマリーはずらして通知します)。",
			"While it takes a large zone, answers may stop for seconds: never notify a whole pool at once (the primary staggers)."),
	}},
	PowerDNS: {[]string{"recursor.conf", "rpz.lua"}, []note{
		say("PowerDNS Recursor 4.8 は RPZ に NOTIFY を使いません。ゾーンごとに SOA を尋ねます(optout. と emergency. は 2 秒ごと)。",
			"PowerDNS Recursor 4.8 takes no NOTIFY for policy zones: it asks for their SOA (every 2 s for optout. and emergency.)."),
		say("PowerDNS Recursor 4.8 は RPZ の転送に TLS を使えません。閉じた網か VPN を通してください。",
			"PowerDNS Recursor 4.8 can't transfer policy zones over TLS: lead the transfer through a closed network.").only(func(s Site) bool { return s.TLS.Name != "" }),
		say("パケットキャッシュは切ってあります。入れると、同意しない利用者に、他の利用者の遮断された答えが返ります。",
			"The packet cache is off: with it, who declined is given the blocked answer of somebody else."),
	}},
	Knot: {[]string{"kresd.conf", "sakimori.lua"}, []note{
		say("Knot Resolver 5.6 はゾーン転送をしません。sakimori-edge zones が転送したファイルを、毎秒調べて読み直します。ファイルは必ず改名(rename)で置き換えること。",
			"Knot Resolver 5.6 transfers nothing: it looks each second for new files, which `sakimori-edge zones` takes from the primary. Replace files by renaming only."),
		say("Knot Resolver の policy.rpz は別名(CNAME)のローカルデータを無視し、応答中の CNAME の先も調べません。c2. には NXDOMAIN か NODATA を使ってください。",
			"Knot Resolver's policy.rpz ignores aliases as local data, and doesn't look at what a CNAME in an answer leads to: use NXDOMAIN or NODATA in c2."),
		say("kresd を複数動かすときは、どの 1 本も同じファイルを読みます。カナリアはそれぞれに当ててください。",
			"Several kresd read the same files, each for itself: let the canaries ask each of them."),
	}},
}
