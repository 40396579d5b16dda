package policy

// Shorter names the first member of the retention in which it keeps less than
// another one does: a tag that is gone, or lasts less long. "" is none.
func (r Retention) Shorter(than Retention) string {
	for _, tag := range []struct {
		name      string
		now, then *Keep
	}{{"dailySchedule", r.Daily, than.Daily}, {"weeklySchedule", r.Weekly, than.Weekly}, {"monthlySchedule", r.Monthly, than.Monthly}, {"yearlySchedule", r.Yearly, than.Yearly}} {
		switch {
		case tag.then == nil:
		case tag.now == nil:
			return "properties.retentionPolicy." + tag.name
		case tag.now.Duration.Count < tag.then.Duration.Count:
			return "properties.retentionPolicy." + tag.name + ".retentionDuration.count"
		case tag.now.perUnit() < tag.then.perUnit():
			return "properties.retentionPolicy." + tag.name
		}
	}
	return ""
}
