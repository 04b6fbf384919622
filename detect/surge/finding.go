package surge

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// finding puts a surge into words.
//
// Confidence is the probability, by our own judgement, that the hosts really
// rose beyond their rhythm: 0.95 against a full baseline, 0.90 for a key hardly
// seen before, 0.60 by the short rule.
func finding(cfg *Config, k *key, state detect.State, at int64) detect.Finding {
	opened := hourTime(k.Opened)
	dim, n := observe.Dim(k.ID>>32), uint32(k.ID) //nolint:gosec // as identity put them
	subject := name(dim, n)
	f := detect.Finding{
		ID: fmt.Sprintf("surge-%s-%s-%s", dim, strings.NewReplacer("/", "-", " ", "-").Replace(subject),
			opened.Format("20060102T1504Z")),
		Detector:   "surge",
		Subject:    subject,
		State:      state,
		Severity:   detect.Note,
		Confidence: 0.95,
		Opened:     opened,
		Changed:    time.Unix(at, 0).UTC(),
		Title:      title(k, dim, subject),
		Why:        why(cfg, k, state),
		Evidence:   evidence(k),
	}
	if k.New || float64(k.PeakS) >= 10*k.BaseS {
		f.Severity = detect.Soon
	}
	switch {
	case k.Short:
		f.Confidence = 0.60
	case k.New:
		f.Confidence = 0.90
	}
	if state == detect.Closed {
		f.Closed = f.Changed
	}
	return f
}

func hourTime(h int64) time.Time { return time.Unix(h*3600, 0).UTC() }

func title(k *key, dim observe.Dim, subject string) detect.Text {
	ja, en := subject+" へ送る", "sending to "+subject
	switch dim {
	case observe.ByCountry:
		ja, en = "国・地域 "+subject+" から送る", "sending from country or region "+subject
	case observe.ByAS:
		ja, en = subject+" から送る", "sending from "+subject
	}
	hosts, packets := detect.Grouped(k.PeakS), detect.Grouped(k.PeakP)
	if k.New {
		return detect.Text{
			JA: fmt.Sprintf("%sホストが新たに現れました(1 時間に %s ホスト、%s パケット)", ja, hosts, packets),
			EN: fmt.Sprintf("Hosts %s have newly appeared (%s hosts, %s packets in an hour)", en, hosts, packets),
		}
	}
	if k.BaseS < 1 {
		return detect.Text{
			JA: fmt.Sprintf("%sホストが増えています(1 時間に %s ホスト、%s パケット。平常はほぼ 0 ホスト)", ja, hosts, packets),
			EN: fmt.Sprintf("Hosts %s are on the rise (%s hosts, %s packets in an hour; usually hardly any)", en, hosts, packets),
		}
	}
	times := strconv.FormatFloat(float64(k.PeakS)/k.BaseS, 'f', 1, 64)
	usual := detect.Grouped(uint64(k.BaseS + 0.5))
	return detect.Text{
		JA: fmt.Sprintf("%sホストが平常の %s 倍に増えています(1 時間に %s ホスト、%s パケット。平常は %s ホスト)", ja, times, hosts, packets, usual),
		EN: fmt.Sprintf("Hosts %s are at %s times their usual number (%s hosts, %s packets in an hour; usually %s hosts)", en, times, hosts, packets, usual),
	}
}

func why(cfg *Config, k *key, state detect.State) detect.Text {
	var ja, en string
	switch {
	case k.Short:
		ja = fmt.Sprintf("基準値はまだ定まっていません(同じ曜日・時刻の記録が %d 週に満たない)。前日までの同じ時刻の最大値の %g 倍以上のホストが %d 時間続いたため知らせますが、確度は低めです。", leastWeek, cfg.ShortRatio, cfg.Hours)
		en = fmt.Sprintf("The baseline isn't known yet: fewer than %d weeks of this hour of the week. It is told because the hosts were %g times the highest value of the same hour on the days before, or more, for %d hours; this is less sure.", leastWeek, cfg.ShortRatio, cfg.Hours)
	case k.New:
		ja = fmt.Sprintf("過去 %d 週間ほとんど観測されておらず(1 時間に %d ホスト未満)、24 時間以内に現れました。", weeks, heard)
		en = fmt.Sprintf("It was hardly seen in the past %d weeks (below %d hosts an hour) and came up within a day.", weeks, heard)
	default:
		ja = fmt.Sprintf("過去 %d 週間の同じ曜日・時刻の中央値と比べ、ホスト数もパケット数も通常のばらつきを大きく超えました。", weeks)
		en = fmt.Sprintf("Against the median of the same hour of the week over the past %d weeks, both hosts and packets are far beyond their usual scatter.", weeks)
	}
	ja += "公表されている調査目的のスキャン元は、ホスト数に含みません。"
	en += " Scanners that say openly who they are aren't among the hosts."
	if state == detect.Closed {
		if k.Unseen {
			ja = "観測が途絶えたため終了としました。" + ja
			en = "Closed, as the telescope has not looked since. " + en
		} else {
			ja = fmt.Sprintf("%d 時間続けて基準値の近くにあるため終了しました(基準値が追いついた場合を含みます)。", cfg.Calm) + ja
			en = fmt.Sprintf("Closed: near the baseline for %d hours, which includes that the baseline has come up to it. ", cfg.Calm) + en
		}
	}
	return detect.Text{JA: ja, EN: en}
}

func evidence(k *key) []detect.Fact {
	basis := "hour-of-week median"
	switch {
	case k.Short:
		basis = "short history: highest of the same hour, days before"
	case k.New:
		basis = "hardly seen before"
	}
	return []detect.Fact{
		{Key: "sources", Value: strconv.FormatUint(k.PeakS, 10), Unit: "hosts/h", Error: "the highest hour"},
		{Key: "packets", Value: strconv.FormatUint(k.PeakP, 10), Unit: "packets/h", Error: "in that hour"},
		{Key: "research_sources", Value: strconv.FormatUint(k.peakOpenly, 10), Unit: "hosts/h", Error: "beside, in that hour: not among the sources, but their packets are among the packets"},
		{Key: "expected_sources", Value: strconv.FormatFloat(k.BaseS, 'f', 0, 64), Unit: "hosts/h", Error: "±4 %, when it opened"},
		{Key: "expected_packets", Value: strconv.FormatFloat(k.BaseP, 'f', 0, 64), Unit: "packets/h", Error: "±5 %, when it opened"},
		{Key: "baseline", Value: basis},
		{Key: "first", Value: hourTime(k.Opened).Format(time.RFC3339)},
		{Key: "peak", Value: hourTime(k.PeakHour).Format(time.RFC3339)},
		{Key: "last", Value: hourTime(k.LastHigh + 1).Format(time.RFC3339)},
	}
}

// name is the key in words: "23/tcp", "JP", "AS4713".
func name(dim observe.Dim, k uint32) string {
	switch dim {
	case observe.ByCountry:
		return string([]byte{byte(k >> 8), byte(k)}) //nolint:gosec // two letters
	case observe.ByAS:
		return "AS" + strconv.FormatUint(uint64(k), 10)
	}
	port := k & 0xffff
	switch k >> 16 {
	case packet.TCP:
		return fmt.Sprintf("%d/tcp", port)
	case packet.UDP:
		return fmt.Sprintf("%d/udp", port)
	case packet.ICMP:
		return fmt.Sprintf("ICMP %d/%d", port>>8, port&0xff)
	case packet.ICMPv6:
		return fmt.Sprintf("ICMPv6 %d/%d", port>>8, port&0xff)
	}
	return fmt.Sprintf("%d/proto-%d", port, k>>16)
}
