package policy

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the rules of all places, for a machine that has none
)

// zoneNames are the zones that a policy may name, by their offset from UTC in
// standard time: the names that Windows has for them, as Azure takes them
// ("Default time zones", learn.microsoft.com, windows-hardware/manufacture; read
// 2026-11), each with the place whose clocks it follows (Unicode CLDR,
// windowsZones.xml, territory 001; under the names that IANA has today).
var zoneNames = map[string]string{
	"-12:00": "Dateline",
	"-11:00": "UTC-11",
	"-10:00": "Aleutian=America/Adak,Hawaiian=Pacific/Honolulu",
	"-09:30": "Marquesas=Pacific/Marquesas",
	"-09:00": "Alaskan=America/Anchorage,UTC-09",
	"-08:00": "Pacific Standard Time (Mexico)=America/Tijuana,UTC-08,Pacific=America/Los_Angeles",
	"-07:00": "US Mountain=America/Phoenix,Mountain Standard Time (Mexico)=America/Mazatlan,Mountain=America/Denver" +
		",Yukon=America/Whitehorse",
	"-06:00": "Central America=America/Guatemala,Central=America/Chicago,Easter Island=Pacific/Easter" +
		",Central Standard Time (Mexico)=America/Mexico_City,Canada Central=America/Regina",
	"-05:00": "SA Pacific=America/Bogota,Eastern Standard Time (Mexico)=America/Cancun,Eastern=America/New_York" +
		",Haiti=America/Port-au-Prince,Cuba=America/Havana,US Eastern=America/Indiana/Indianapolis" +
		",Turks And Caicos=America/Grand_Turk",
	"-04:00": "Paraguay=America/Asuncion,Atlantic=America/Halifax,Venezuela=America/Caracas,Central Brazilian=America/Cuiaba" +
		",SA Western=America/La_Paz,Pacific SA=America/Santiago",
	"-03:30": "Newfoundland=America/St_Johns",
	"-03:00": "Tocantins=America/Araguaina,E. South America=America/Sao_Paulo,SA Eastern=America/Cayenne" +
		",Argentina=America/Argentina/Buenos_Aires,Greenland=America/Nuuk,Montevideo=America/Montevideo" +
		",Magallanes=America/Punta_Arenas,Saint Pierre=America/Miquelon,Bahia=America/Bahia",
	"-02:00": "UTC-02,Mid-Atlantic",
	"-01:00": "Azores=Atlantic/Azores,Cape Verde=Atlantic/Cape_Verde",
	"+00:00": "UTC,GMT=Europe/London,Greenwich=Atlantic/Reykjavik,Sao Tome=Africa/Sao_Tome,Morocco=Africa/Casablanca",
	"+01:00": "W. Europe=Europe/Berlin,Central Europe=Europe/Budapest,Romance=Europe/Paris,Central European=Europe/Warsaw" +
		",W. Central Africa=Africa/Lagos",
	"+02:00": "GTB=Europe/Bucharest,Middle East=Asia/Beirut,Egypt=Africa/Cairo,E. Europe=Europe/Chisinau,West Bank=Asia/Hebron" +
		",South Africa=Africa/Johannesburg,FLE=Europe/Kyiv,Israel=Asia/Jerusalem,South Sudan=Africa/Juba" +
		",Kaliningrad=Europe/Kaliningrad,Sudan=Africa/Khartoum,Libya=Africa/Tripoli,Namibia=Africa/Windhoek",
	"+03:00": "Jordan=Asia/Amman,Arabic=Asia/Baghdad,Syria=Asia/Damascus,Turkey=Europe/Istanbul,Arab=Asia/Riyadh" +
		",Belarus=Europe/Minsk,Russian=Europe/Moscow,E. Africa=Africa/Nairobi,Volgograd=Europe/Volgograd",
	"+03:30": "Iran=Asia/Tehran",
	"+04:00": "Arabian=Asia/Dubai,Astrakhan=Europe/Astrakhan,Azerbaijan=Asia/Baku,Russia Time Zone 3=Europe/Samara" +
		",Mauritius=Indian/Mauritius,Saratov=Europe/Saratov,Georgian=Asia/Tbilisi,Caucasus=Asia/Yerevan",
	"+04:30": "Afghanistan=Asia/Kabul",
	"+05:00": "West Asia=Asia/Tashkent,Ekaterinburg=Asia/Yekaterinburg,Pakistan=Asia/Karachi,Qyzylorda=Asia/Qyzylorda",
	"+05:30": "India=Asia/Kolkata,Sri Lanka=Asia/Colombo",
	"+05:45": "Nepal=Asia/Kathmandu",
	"+06:00": "Central Asia=Asia/Bishkek,Bangladesh=Asia/Dhaka,Omsk=Asia/Omsk",
	"+06:30": "Myanmar=Asia/Yangon",
	"+07:00": "SE Asia=Asia/Bangkok,Altai=Asia/Barnaul,W. Mongolia=Asia/Hovd,North Asia=Asia/Krasnoyarsk" +
		",N. Central Asia=Asia/Novosibirsk,Tomsk=Asia/Tomsk",
	"+08:00": "China=Asia/Shanghai,North Asia East=Asia/Irkutsk,Singapore=Asia/Singapore,W. Australia=Australia/Perth" +
		",Taipei=Asia/Taipei,Ulaanbaatar=Asia/Ulaanbaatar",
	"+08:45": "Aus Central W.=Australia/Eucla",
	"+09:00": "Transbaikal=Asia/Chita,Tokyo=Asia/Tokyo,North Korea=Asia/Pyongyang,Korea=Asia/Seoul,Yakutsk=Asia/Yakutsk",
	"+09:30": "Cen. Australia=Australia/Adelaide,AUS Central=Australia/Darwin",
	"+10:00": "E. Australia=Australia/Brisbane,AUS Eastern=Australia/Sydney,West Pacific=Pacific/Port_Moresby" +
		",Tasmania=Australia/Hobart,Vladivostok=Asia/Vladivostok",
	"+10:30": "Lord Howe=Australia/Lord_Howe",
	"+11:00": "Bougainville=Pacific/Bougainville,Russia Time Zone 10=Asia/Srednekolymsk,Magadan=Asia/Magadan" +
		",Norfolk=Pacific/Norfolk,Sakhalin=Asia/Sakhalin,Central Pacific=Pacific/Guadalcanal",
	"+12:00": "Russia Time Zone 11=Asia/Kamchatka,New Zealand=Pacific/Auckland,UTC+12,Fiji=Pacific/Fiji" +
		",Kamchatka=Asia/Kamchatka",
	"+12:45": "Chatham Islands=Pacific/Chatham",
	"+13:00": "UTC+13,Tonga=Pacific/Tongatapu,Samoa=Pacific/Apia",
	"+14:00": "Line Islands=Pacific/Kiritimati",
}

// zone is where the times of a policy are. Its standard time is the same all
// year; its wall clock is put forward and back as that of the place is.
type zone struct {
	standard *time.Location
	wall     func() *time.Location // read when it is first asked for
}

// zones is zoneNames turned round. A name without " Time" in it, nor UTC, has
// " Standard Time" after it.
var zones = func() map[string]*zone {
	all := map[string]*zone{"": inZone(time.UTC, "")}
	for offset, names := range zoneNames {
		at, err := time.Parse("-07:00", offset)
		if err != nil {
			panic("internal error: " + err.Error())
		}
		_, seconds := at.Zone()
		for entry := range strings.SplitSeq(names, ",") {
			name, place, _ := strings.Cut(entry, "=")
			if !strings.Contains(name, " Time") && !strings.HasPrefix(name, "UTC") {
				name += " Standard Time"
			}
			all[name] = inZone(time.FixedZone(name, seconds), place)
		}
	}
	return all
}()

// inZone is a zone by its standard time and its place; "" is a zone that has no
// other time. The rules of a place are the machine's or, where it has none, those
// that time/tzdata brings along.
func inZone(standard *time.Location, place string) *zone {
	return &zone{standard, sync.OnceValue(func() *time.Location {
		if place == "" {
			return standard
		}
		wall, err := time.LoadLocation(place)
		if err != nil {
			panic("internal error: " + err.Error()) // TestPlaces has read them all
		}
		return wall
	})}
}

// zone is where the policy's times are; "" is UTC.
func (p Policy) zone() *time.Location {
	z, ok := zones[p.TimeZone]
	switch {
	case !ok:
		return time.UTC // check has refused it
	case p.Holdfast.FollowDaylightSaving:
		return z.wall()
	}
	return z.standard
}

// day is the date that a moment has in the policy's zone, as midnight in UTC: to
// count days with, since there are places where midnight is skipped once a year.
func (p Policy) day(t time.Time) time.Time {
	y, m, d := t.In(p.zone()).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// moment is when the policy's clocks show a time of a day; of 24 hours and more,
// a time of the days after it. A time that the clocks skip is read with the
// offset from before, so that it comes as much later as they were put forward;
// of one that they show twice it is the first (RFC 5545, 3.3.5).
func (p Policy) moment(day time.Time, clock time.Duration) time.Time {
	// No place puts its clocks on twice in four days.
	const near = 48 * time.Hour
	shown := day.Add(clock) // if the clocks were UTC's
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(p.zone()).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := offset(shown.Add(-near)), offset(shown.Add(near))
	first, second := shown.Add(-before), shown.Add(-after)
	if offset(first) != before && offset(second) == after {
		return second
	}
	return first
}
