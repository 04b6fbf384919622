package choice

// phrases are the page's own words.
type phrases struct {
	Other, OtherLang, Title, Lead, Now, On, Off, Old, None, Since, TurnOn, TurnOff, Sure, Yes, Back, Done, Soon, Unchanged, UnchangedText, Terms, Contact,
	Shared, Foreign, Nobody, Often, Stale, Failed, Which string
	Purpose map[Purpose]about
}

// about explains one of the two switches.
type about struct{ Name, What, Off, AskOn, AskOff string }

var said = map[string]phrases{
	"ja": {
		Other: "English", OtherLang: "en", Title: "マルウェア通信の遮断の設定",
		Lead: "この回線(いまお使いの回線)の設定を確認し、いつでも変更できます。", Now: "現在の設定", On: "有効", Off: "無効(お申し出により停止)", Old: "無効(新しい規約へのお返事をお待ちしています)", None: "無効(お申し出がありません)",
		Since: "%s から", TurnOn: "有効にする", TurnOff: "無効にする", Sure: "変更の確認", Yes: "はい、変更します", Back: "変更せずに戻る",
		Done: "変更しました。いまから有効です。", Soon: "変更を受け付けました。数秒のうちに反映されます。", Unchanged: "変わらないこと",
		UnchangedText: "無効にしても、料金、通信の品質、そのほかの提供条件は変わりません。いつでも元に戻せます。", Terms: "約款を読む", Contact: "お問い合わせ",
		Shared:  "この接続のアドレスは複数の回線で共有されているため、どの回線からのお申し込みか判別できません。お客様サイト、お知らせのお問い合わせ番号、またはお電話でお手続きください。",
		Foreign: "当社の回線からの接続ではないため、ここでは設定できません。設定したい回線から開くか、お客様サイト、またはお電話でお手続きください。",
		Nobody:  "いまお使いの回線を確認できませんでした。数分おいてもう一度開くか、お客様サイト、またはお電話でお手続きください。",
		Often:   "操作の回数が多すぎます。10分ほど待ってからお試しください。", Stale: "この画面は古くなりました。はじめからもう一度お試しください。何も変更していません。",
		Failed: "ただいまお手続きできません。何も変更していない可能性があります。少し待ってから、現在の設定をご確認ください。", Which: "選択を読み取れませんでした。何も変更していません。",
		Purpose: map[Purpose]about{
			Block: {
				Name: "C&Cサーバーへの名前解決の遮断", What: "マルウェアに指令を出すサーバー(C&Cサーバー)のリストに名前が一致したとき、その名前を引けないようにします。照合は機械的に行い、ほかの通信は見ません。",
				Off:   "無効にすると、この回線では照合も遮断もしません。マルウェアに感染した機器は指令を受け取れるようになります。",
				AskOn: "この回線で、C&Cサーバーへの名前解決の遮断を有効にします。", AskOff: "この回線で、C&Cサーバーへの名前解決の遮断を無効にします。",
			},
			Hits: {
				Name: "遮断した記録と感染のお知らせ", What: "リストの名前への問い合わせがあったことを記録し、感染のおそれをお知らせします。遮断とは別の設定です。",
				Off:   "無効にすると、この回線の記録を残さず、お知らせもしません。遮断はそのまま続きます。",
				AskOn: "この回線で、記録と感染のお知らせを有効にします。", AskOff: "この回線で、記録と感染のお知らせを無効にします。",
			},
		},
	},
	"en": {
		Other: "日本語", OtherLang: "ja", Title: "Blocking of malware traffic",
		Lead: "See how the line that you are using now is set, and change it whenever you like.", Now: "Now", On: "On", Off: "Off (you declined)", Old: "Off (we wait for your answer to the new terms)", None: "Off (you said nothing)",
		Since: "since %s", TurnOn: "Turn on", TurnOff: "Turn off", Sure: "Please confirm", Yes: "Yes, change it", Back: "Go back without a change",
		Done: "Changed. It holds from now on.", Soon: "We have your change. It takes effect within seconds.", Unchanged: "What stays the same",
		UnchangedText: "When you turn this off, neither the price nor the quality of the service nor any other condition changes. You can turn it on again at any time.", Terms: "Read the terms", Contact: "Contact",
		Shared:  "Several lines share the address of this connection, so we can't tell which line is yours. Please use the member site, the reference number of a notice, or the telephone.",
		Foreign: "This connection isn't one of our lines, so nothing can be set here. Open this page from the line that you mean, or use the member site or the telephone.",
		Nobody:  "We couldn't tell which line you are using. Try again in a few minutes, or use the member site or the telephone.",
		Often:   "That was asked too often: please wait ten minutes.", Stale: "This page was too old. Please begin again; nothing was changed.",
		Failed: "This can't be done right now. It may be that nothing was changed: wait a little, and look at how it is set.", Which: "We couldn't read your choice. Nothing was changed.",
		Purpose: map[Purpose]about{
			Block: {
				Name: "Blocking names of C&C servers", What: "When a name is on the list of servers that command malware (C&C servers), it isn't resolved. The comparison is mechanical, and nothing else of your traffic is looked at.",
				Off:   "When it is off, nothing is compared or blocked on this line. A device with malware can then receive its commands.",
				AskOn: "Blocking names of C&C servers will be turned on for this line.", AskOff: "Blocking names of C&C servers will be turned off for this line.",
			},
			Hits: {
				Name: "Keeping hits, and warning of an infection", What: "We keep that a listed name was asked for, and tell you of a likely infection. This is a setting apart from the blocking.",
				Off:   "When it is off, nothing is kept of this line, and you aren't warned. The blocking goes on as it is.",
				AskOn: "Keeping hits and warning will be turned on for this line.", AskOff: "Keeping hits and warning will be turned off for this line.",
			},
		},
	},
}
