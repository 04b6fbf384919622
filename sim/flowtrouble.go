package sim

import (
	"math"
	"time"
)

// exporterScenes have routers that lose, forget or are off; each has an attack that must
// be found all the same.
func exporterScenes() (list []NamedFlowScene) {
	for _, s := range []struct {
		name, ja, en string
		format       FlowFormat
		change       func(*Router)
	}{
		{"restart", "攻撃中のルーター再起動", "the router starts anew in mid-attack", IPFIX, func(r *Router) { r.Restart, r.Down = 25*time.Second, 4*time.Second }},
		{"restart-9", "攻撃中の再起動(NetFlow 9)", "the same of NetFlow 9", NetFlow9, func(r *Router) { r.Restart, r.Down = 25*time.Second, 4*time.Second }},
		{"restart-sflow", "攻撃中の再起動(sFlow)", "the same of sFlow", SFlow5, func(r *Router) { r.Restart, r.Down = 25*time.Second, 4*time.Second }},
		{"templates-late", "テンプレートの欠落(データが先に届く)", "templates are lost: data comes before them", IPFIX, func(r *Router) { r.LoseTemplates = 1 }},
		{"templates-late-9", "テンプレートの欠落(NetFlow 9)", "the same of NetFlow 9", NetFlow9, func(r *Router) { r.LoseTemplates, r.Tells = 1, TellsSampler }},
		{"clock-ahead", "時計が 8 年進んだルーター", "a router whose clock is eight years ahead", IPFIX, func(r *Router) { r.Ahead = 8 * 365 * 24 * time.Hour }},
		{"clock-behind", "時計が 40 分遅れたルーター", "a router whose clock is 40 minutes behind", NetFlow5, func(r *Router) { r.Ahead = -40 * time.Minute }},
		{"clock-1970", "時計が 1970 年のルーター", "a router that believes to live in 1970", NetFlow9, func(r *Router) { r.Ahead = -20760 * 24 * time.Hour }},
		{"sequence-wrap", "番号の一周", "the sequence number wraps", IPFIX, func(r *Router) { r.First = math.MaxUint32 - 5000 }},
		{"uptime-wrap", "稼働時間の一周(49.7 日)", "the uptime wraps after 49.7 days", NetFlow9, func(r *Router) { r.Up = time.Duration(1<<32)*time.Millisecond - 22*time.Second }},
		{"uptime-wrap-5", "稼働時間の一周(NetFlow 5)", "the same of NetFlow 5", NetFlow5, func(r *Router) { r.Up = time.Duration(1<<32)*time.Millisecond - 22*time.Second }},
		{"loss", "データグラム 10 個に 1 個の損失", "one datagram of ten is lost", SFlow5, func(r *Router) { r.Lose = 10 }},
		{"small-cache", "小さなフローキャッシュ", "a small cache of flows", IPFIX, func(r *Router) { r.Cache, r.Active, r.Inactive = 200, time.Minute, 15*time.Second }},
		{"packet-records", "パケットごとの IPFIX レコード", "IPFIX with a record for each packet", IPFIX, func(r *Router) { r.Active, r.Inactive = 0, 0 }},
	} {
		r := routers(1, int(s.format), 100)
		s.change(&r[0])
		list = append(list, NamedFlowScene{Name: s.name, JA: s.ja, EN: s.en, Scene: flowBase(sceneFor, r, against(one(webServer), "ssdp-amplification", 80_000))})
	}
	// One device with two domains that sample differently.
	two := routers(2, 2, 50)
	for i := range two {
		two[i].Address, two[i].Format, two[i].Domain = two[0].Address, IPFIX, uint32(i+1)
		two[i].Sampling, two[i].Tells = [...]uint32{50, 400}[i], [...]Telling{TellsSystem, TellsSampler}[i]
	}
	list = append(list, NamedFlowScene{Name: "domains", JA: "二つの観測ドメイン(異なるサンプリング)", EN: "two observation domains with samplings of their own", Scene: flowBase(sceneFor, two, against(one(webServer), "cldap-amplification", 120_000))})

	// Flows that are told each minute: a flood of few long flows is known late, and then whole.
	slow := routers(1, 2, 100)
	slow[0].Active, slow[0].Inactive = time.Minute, 15*time.Second
	a := Assault{Target: one(webServer), Vectors: []Hit{{Vector: VectorByName("udp"), Course: Steady(onset, 80*time.Second, 60_000), Sources: 40, Port: 80}}}
	a.Vectors[0].Vector.SrcPort = 40_000
	return append(list, NamedFlowScene{Name: "active-60", JA: "60 秒の active timeout での攻撃", EN: "a flood told by active time-outs of 60 seconds", Scene: flowBase(100*time.Second, slow, a)})
}

// paperScenes are the attacks of the paper, at their full rates. What isn't as it was is
// the routers' sampling: it is so coarse that the file stays small.
func paperScenes() []NamedFlowScene {
	const begin = 15 * time.Second
	hit := func(v Vector, share, bps uint64, span time.Duration, sources int) Hit {
		sum := uint64(0)
		for _, s := range v.Sizes {
			sum += uint64(s)
		}
		pps := bps / 100 * share / 8 * uint64(len(v.Sizes)) / sum
		return Hit{Vector: v, Course: Rising(begin, 4*time.Second, span, pps), Sources: sources}
	}
	sized := func(name string, port uint16, sizes ...uint16) Vector {
		v := VectorByName(name)
		v.Sizes, v.DstPort = sizes, port
		return v
	}
	scene := func(d time.Duration, sampling uint32, hits ...Hit) FlowScene {
		r := routers(4, 2, sampling)
		for i := range r {
			if r[i].Format == NetFlow5 { // can't tell so coarse a sampling
				r[i].Format = IPFIX
			}
		}
		return flowBase(d, r, Assault{Target: one(webServer), Vectors: hits})
	}
	const tera, giga = 1_000_000_000_000, 1_000_000_000
	london := Hit{Vector: VectorByName("connections"), Course: Steady(begin, 45*time.Second, 11_000)}
	return []NamedFlowScene{
		{Name: "krebs-2016", JA: "2016年9月 Krebs: 620 Gbit/s、18万台(サンプリング 1:200,000)", EN: "Krebs, September 2016: 620 Gbit/s from 180,000 devices, sampled 1:200,000", Scene: scene(75*time.Second, 200_000,
			hit(VectorByName("gre"), 70, 620*giga, 55*time.Second, 180_000), hit(sized("ack", 80, 1052), 20, 620*giga, 55*time.Second, 60_000), hit(sized("udp", 80, 1052), 10, 620*giga, 55*time.Second, 60_000))},
		{Name: "ovh-2016", JA: "2016年9月 OVH: 1.5 Tbit/s、14万5千台(サンプリング 1:200,000)", EN: "OVH, September 2016: 1.5 Tbit/s from 145,000 devices, sampled 1:200,000", Scene: scene(75*time.Second, 200_000,
			hit(sized("ack", 443, 1440, 1052), 80, 3*tera/2, 55*time.Second, 145_000), hit(sized("udp", 443, 1440), 18, 3*tera/2, 55*time.Second, 60_000), hit(VectorByName("syn"), 2, 3*tera/2, 55*time.Second, 145_000))},
		{Name: "dyn-2016", JA: "2016年10月 Dyn: 1.2 Tbit/s、DNS への SYN と UDP、10万台(サンプリング 1:200,000)", EN: "Dyn, October 2016: 1.2 Tbit/s of SYN and UDP on DNS from 100,000 devices, sampled 1:200,000", Scene: dyn(scene(90*time.Second, 200_000,
			hit(sized("udp", portDNS, 1052, 1440), 97, 6*tera/5, 70*time.Second, 100_000), hit(sized("syn", portDNS, 60), 3, 6*tera/5, 70*time.Second, 100_000)))},
		{Name: "london-2012", JA: "2012年ロンドン: 毎秒 11,000 件の接続要求(サンプリング 1:10)", EN: "London 2012: 11,000 connection requests a second, sampled 1:10", Scene: flowBase(60*time.Second, routers(2, 3, 10), Assault{Target: one(webServer), Vectors: []Hit{london}})},
		{Name: "rio-2016", JA: "2016年リオ: 540 Gbit/s、GRE と増幅(サンプリング 1:100,000)", EN: "Rio 2016: 540 Gbit/s of GRE and amplification, sampled 1:100,000", Scene: scene(75*time.Second, 100_000,
			hit(VectorByName("gre"), 55, 540*giga, 55*time.Second, 90_000), hit(VectorByName("dns-amplification"), 25, 540*giga, 55*time.Second, 0), hit(VectorByName("ntp-amplification"), 12, 540*giga, 55*time.Second, 0), hit(VectorByName("ssdp-amplification"), 8, 540*giga, 55*time.Second, 0))},
	}
}

// dyn has a name server for its target.
func dyn(s FlowScene) FlowScene {
	a := s.Traffic[1].(Assault)
	a.Target = one(nameServer)
	s.Traffic[1] = a
	return s
}
