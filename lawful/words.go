package lawful

// measures says what each measure is.
var measures = map[Measure]Text{
	NameSubscriber: {"契約者の特定", "name a subscriber"},
	ReadLogs:       {"接続ログの解析", "look through connection logs"},
	Notify:         {"契約者への注意喚起", "notify a subscriber"},
	Block:          {"通信の遮断", "block a communication"},
	Filter:         {"攻撃に合致する通信の破棄", "filter what fits an attack"},
	Share:          {"アドレスの提供", "share an address"},
	AnalyseTraffic: {"契約者の通信の解析", "analyse a subscriber's traffic"},
	MatchNames:     {"名前解決要求とC&Cリストの照合", "match name resolution with a list of C&C servers"},
	StoreHits:      {"リストに一致した事実の記録", "keep who asked for a listed name"},
	WarnAccess:     {"アクセスの一時停止と警告", "pause an access and warn"},
	PassAttacker:   {"攻撃元アドレスの送信側ISPへの提供", "pass an attacker's address to the sender's provider"},
	ShareAnalysis:  {"経路上の事業者との分析結果の共有", "share an analysis with operators on the path"},
	AnalyseFlows:   {"平時のフローの統計的分析", "analyse flows in ordinary times"},
	ShareHistory:   {"認定協会への通信履歴の提供", "give histories to the certified association"},
	Announce:       {"自網プレフィックスの通常と異なる広告", "announce own prefixes otherwise than usual"},
}

// Words is what a measure is for a person.
func (m Measure) Words() Text { return measures[m] }
