package policy

import "time"

// Made is a point as retention sees it.
type Made struct {
	Name string // "" for one that the schedule has yet to make
	Time time.Time
	// Previous is when the scheduled point before it was made; zero if there was none.
	Previous time.Time
	// Fixed says that its owner said until when it is kept; no policy has a say.
	Fixed   bool
	Expires time.Time // zero is never
}

// Remark gives points with the expiries that the policy gives them. One that a
// clock which was put back has made before its predecessor counts from that.
func (p Policy) Remark(points []Made) []Made {
	out := make([]Made, len(points))
	for i, m := range points {
		if !m.Fixed {
			at := m.Time
			if m.Previous.After(at) {
				at = m.Previous
			}
			m.Expires = p.Expires(at, m.Previous).UTC()
		}
		out[i] = m
	}
	return out
}

// CleanUp parts points, oldest first, into those that a clean-up leaves and those
// that it deletes: what has expired before the newest point was made. So nothing
// goes by the clock alone: while backups fail, what is there is kept.
func CleanUp(points []Made, now time.Time) (kept, gone []Made) {
	if len(points) == 0 {
		return nil, nil
	}
	newest := points[len(points)-1]
	for _, m := range points[:len(points)-1] {
		if m.Expires.IsZero() || m.Expires.After(now) || m.Expires.After(newest.Time) {
			kept = append(kept, m)
		} else {
			gone = append(gone, m)
		}
	}
	return append(kept, newest), gone
}

// Forecast gives the points that there are at a moment to come, oldest first,
// when each run from now on makes its point: what is left of those that are
// there, given oldest first, and the new ones. served is the run of the schedule
// that was served last.
func (p Policy) Forecast(points []Made, served, now, at time.Time) []Made {
	all := p.Remark(points)
	var previous time.Time
	for _, m := range points {
		if !m.Fixed {
			previous = m.Time
		}
	}
	add := func(run time.Time) {
		all = append(all, Made{Time: run.UTC(), Previous: previous, Expires: p.Expires(run, previous).UTC()})
		previous = run
	}
	if _, late := p.Missed(served, now); late {
		add(now)
	}
	for run := p.Next(now); !run.After(at); run = p.Next(run) {
		add(run)
	}
	kept, _ := CleanUp(all, at)
	return kept
}
