package account

import "sakimori/detect"

// Kinds are all of them, in the order in which they are shown.
var Kinds = []Kind{
	Granted, Refused, Revoked, Approved, Looked, Noticed, Acted, Changed, Consented, Exported, Configured, SignedIn, SourceChanged, Erased, Pruned,
}

var words = map[Kind]detect.Text{
	Granted:       {JA: "許可", EN: "granted"},
	Refused:       {JA: "不許可", EN: "refused"},
	Revoked:       {JA: "許可の終了", EN: "a grant ended"},
	Looked:        {JA: "個人情報の閲覧", EN: "personal data were looked at"},
	Noticed:       {JA: "通知", EN: "somebody was notified"},
	Approved:      {JA: "承認・却下", EN: "a second person decided"},
	Acted:         {JA: "措置", EN: "a step that touches somebody"},
	Changed:       {JA: "案件の変更", EN: "a case changed"},
	Configured:    {JA: "設定・利用者の変更", EN: "settings, users or tokens changed"},
	Consented:     {JA: "同意", EN: "consents or terms changed"},
	Exported:      {JA: "書き出し", EN: "data left the house"},
	Erased:        {JA: "個人情報の消去", EN: "personal data were erased"},
	Pruned:        {JA: "保存期間の満了", EN: "old entries were removed"},
	SignedIn:      {JA: "ログイン", EN: "a sign-in, or a try"},
	SourceChanged: {JA: "情報源の変化", EN: "a source began, ended or was lost"},
}

// Words is what a kind of entry means for a person.
func (k Kind) Words() detect.Text { return words[k] }
