package policy

import (
	"strings"
	"time"
)

// zoneNames are the zones that a policy may name, by their offset from UTC in
// standard time. The names are Windows', as Azure takes them ("Default time
// zones", learn.microsoft.com, windows-hardware/manufacture; read 2026-11).
var zoneNames = map[string]string{
	"-12:00": "Dateline",
	"-11:00": "UTC-11",
	"-10:00": "Aleutian,Hawaiian",
	"-09:30": "Marquesas",
	"-09:00": "Alaskan,UTC-09",
	"-08:00": "Pacific Standard Time (Mexico),UTC-08,Pacific",
	"-07:00": "US Mountain,Mountain Standard Time (Mexico),Mountain,Yukon",
	"-06:00": "Central America,Central,Easter Island,Central Standard Time (Mexico),Canada Central",
	"-05:00": "SA Pacific,Eastern Standard Time (Mexico),Eastern,Haiti,Cuba,US Eastern,Turks And Caicos",
	"-04:00": "Paraguay,Atlantic,Venezuela,Central Brazilian,SA Western,Pacific SA",
	"-03:30": "Newfoundland",
	"-03:00": "Tocantins,E. South America,SA Eastern,Argentina,Greenland,Montevideo,Magallanes,Saint Pierre,Bahia",
	"-02:00": "UTC-02,Mid-Atlantic",
	"-01:00": "Azores,Cape Verde",
	"+00:00": "UTC,GMT,Greenwich,Sao Tome,Morocco",
	"+01:00": "W. Europe,Central Europe,Romance,Central European,W. Central Africa",
	"+02:00": "GTB,Middle East,Egypt,E. Europe,West Bank,South Africa,FLE,Israel,South Sudan,Kaliningrad,Sudan,Libya,Namibia",
	"+03:00": "Jordan,Arabic,Syria,Turkey,Arab,Belarus,Russian,E. Africa,Volgograd",
	"+03:30": "Iran",
	"+04:00": "Arabian,Astrakhan,Azerbaijan,Russia Time Zone 3,Mauritius,Saratov,Georgian,Caucasus",
	"+04:30": "Afghanistan",
	"+05:00": "West Asia,Ekaterinburg,Pakistan,Qyzylorda",
	"+05:30": "India,Sri Lanka",
	"+05:45": "Nepal",
	"+06:00": "Central Asia,Bangladesh,Omsk",
	"+06:30": "Myanmar",
	"+07:00": "SE Asia,Altai,W. Mongolia,North Asia,N. Central Asia,Tomsk",
	"+08:00": "China,North Asia East,Singapore,W. Australia,Taipei,Ulaanbaatar",
	"+08:45": "Aus Central W.",
	"+09:00": "Transbaikal,Tokyo,North Korea,Korea,Yakutsk",
	"+09:30": "Cen. Australia,AUS Central",
	"+10:00": "E. Australia,AUS Eastern,West Pacific,Tasmania,Vladivostok",
	"+10:30": "Lord Howe",
	"+11:00": "Bougainville,Russia Time Zone 10,Magadan,Norfolk,Sakhalin,Central Pacific",
	"+12:00": "Russia Time Zone 11,New Zealand,UTC+12,Fiji,Kamchatka",
	"+12:45": "Chatham Islands",
	"+13:00": "UTC+13,Tonga,Samoa",
	"+14:00": "Line Islands",
}

// zones is zoneNames turned round. A name without " Time" in it, nor UTC, has
// " Standard Time" after it.
var zones = func() map[string]*time.Location {
	all := map[string]*time.Location{"": time.UTC}
	for offset, names := range zoneNames {
		at, err := time.Parse("-07:00", offset)
		if err != nil {
			panic("internal error: " + err.Error())
		}
		_, seconds := at.Zone()
		for name := range strings.SplitSeq(names, ",") {
			if !strings.Contains(name, " Time") && !strings.HasPrefix(name, "UTC") {
				name += " Standard Time"
			}
			all[name] = time.FixedZone(name, seconds)
		}
	}
	return all
}()

// zone is where the policy's times are; "" is UTC.
func (p Policy) zone() *time.Location {
	if z, ok := zones[p.TimeZone]; ok {
		return z
	}
	return time.UTC // check has refused it
}
