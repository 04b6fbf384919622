package telescope

import (
	"slices"
	"time"
)

// IoTPort is a port by which IoT devices are attacked, and why it is counted
// among them.
type IoTPort struct {
	Proto uint8
	Port  uint16
	Why   string
}

// IoTDated is the state of IoTPorts. The paper doesn't say which ports its
// "attacks on IoT devices" are; NICT's yearly reports name the first four and
// add others from year to year, so the share depends on this list, and a report
// prints its date.
var IoTDated = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// IoTPorts are the ports in question.
var IoTPorts = []IoTPort{
	{6, 23, "telnet: Mirai and its descendants"},
	{6, 2323, "telnet, second port: Mirai, September 2016"},
	{6, 22, "SSH of routers and cameras"},
	{6, 2222, "SSH, second port"},
	{6, 23231, "telnet: Mirai variants, December 2016"},
	{6, 6789, "telnet: Mirai variants, December 2016"},
	{6, 7547, "TR-069 CWMP: routers, November 2016"},
	{6, 5555, "TR-064 and Android Debug Bridge"},
	{6, 5358, "telnet of recorders: Hajime, 2016"},
	{6, 37215, "Huawei HG532: Satori, November 2017"},
	{6, 52869, "Realtek SDK UPnP: Satori, 2017"},
	{6, 81, "GoAhead cameras: Persirai, 2017"},
	{6, 8291, "MikroTik Winbox, March 2018"},
	{6, 9530, "recorders' debug port, 2020"},
	{6, 60023, "telnet: IoT bots, 2019"},
	{6, 9527, "recorders' console"},
	{6, 37777, "recorders, Dahua"},
	{6, 34567, "recorders, XiongMai"},
	{6, 4719, "telnet: IoT bots"},
	{6, 26, "telnet: IoT bots, 2019"},
	{17, 53413, "Netis routers' back door, 2014"},
	{17, 1900, "SSDP of routers"},
	{17, 37810, "recorders' discovery, DHDiscover"},
	{17, 5683, "CoAP"},
}

// IoTKeys are their keys in the counts.
func IoTKeys() []uint32 {
	keys := make([]uint32, 0, len(IoTPorts))
	for _, p := range IoTPorts {
		keys = append(keys, portKey(p.Proto, p.Port))
	}
	slices.Sort(keys)
	return keys
}

var iotPort = func() map[uint32]bool {
	m := map[uint32]bool{}
	for _, k := range IoTKeys() {
		m[k] = true
	}
	return m
}()

// ReferenceYear is a total that NICT published for its own telescope.
type ReferenceYear struct {
	Year      int    `json:"year"`
	Packets   uint64 `json:"packets"`
	Dark      uint64 `json:"dark_addresses"` // 0 where the report gives none
	Published string `json:"published"`      // when or where, as known
	Source    string `json:"source"`
}

// Reference is the published series. Totals get restated: each figure stands as
// the named report has it. The reports of 2018, 2021 and 2022 were read as
// others quote them, who are named.
var Reference = []ReferenceYear{
	{2005, 310_000_000, 16_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2006, 810_000_000, 100_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2007, 1_990_000_000, 100_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2008, 2_290_000_000, 120_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2009, 3_570_000_000, 120_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2010, 5_650_000_000, 120_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2011, 4_540_000_000, 120_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2012, 7_780_000_000, 190_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2013, 12_880_000_000, 210_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2014, 25_660_000_000, 240_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2015, 54_510_000_000, 280_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43 (the ministry's white papers R6 and R7 have 63.2 bn)"},
	{2016, 128_100_000_000, 300_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2017, 150_400_000_000, 300_000, "2018-02 (in print 2019)", "NICT REPORT 2019, p. 43"},
	{2018, 212_100_000_000, 300_000, "2019-02-06", "NICTER observation report 2018, quoted by JST's STI Updates of 2019-02 and by ScanNetSecurity of 2020-02-13 (0.79 M per address)"},
	{2019, 327_900_000_000, 300_000, "2020", "NICTER observation report 2019 (that of 2020 has 322.0 bn)"},
	{2020, 500_100_000_000, 300_000, "2021", "NICTER observation report 2020"},
	{2021, 518_000_000_000, 290_000, "2022-02-10", "NICTER observation report 2021, quoted by Security Insight of 2022-02-15 and by JBpress (1.75 M per address)"},
	{2022, 522_600_000_000, 290_000, "2023-02-14", "NICTER observation report 2022, quoted by Security Insight of 2023-02-15 (1.83 M per address)"},
	{2023, 619_700_000_000, 0, "2024", "white paper on information and communications, R6"},
	{2024, 686_200_000_000, 0, "2025", "white paper on information and communications, R7"},
	{2025, 701_000_000_000, 280_000, "2026-02-05", "NICTER observation report 2025"},
}
