package job

import (
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast"
	"holdfast/internal/clock"
)

// Report is what a job says about itself while it runs and after.
type Report struct {
	Tasks      []Task            `json:"tasks,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
	Done       int64             `json:"done,omitempty"`  // bytes of the running task
	Total      int64             `json:"total,omitempty"` // bytes; 0 is unknown
}

// Task is one step of a job.
type Task struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Done    int64     `json:"done,omitempty"`  // bytes
	Total   int64     `json:"total,omitempty"` // bytes; 0 is unknown
}

// Percent is how far the task is, 0 to 100; -1 is unknown.
func (t Task) Percent() float64 {
	switch {
	case t.State == Completed:
		return 100
	case t.Total <= 0:
		return -1
	}
	return float64(min(t.Done, t.Total)) * 100 / float64(t.Total)
}

// Remaining is how long a running job takes yet, by how its task went until now.
func (j Job) Remaining(now time.Time) (left time.Duration, known bool) {
	n := len(j.Report.Tasks)
	if j.Final() || n == 0 {
		return 0, false
	}
	t := j.Report.Tasks[n-1]
	if t.Done <= 0 || t.Done > t.Total || now.Before(t.Started) {
		return 0, false
	}
	return time.Duration(float64(now.Sub(t.Started)) * float64(t.Total-t.Done) / float64(t.Done)).Round(time.Second), true
}

// progress is the holdfast.Progress of one run. It only changes memory; the
// runner saves it from time to time.
type progress struct {
	now     clock.Clock
	reached func(result any) error // nil: nobody wants to know

	mu          sync.Mutex
	report      Report
	cancellable bool
	always      bool // cancellable whatever the run says
	dirty       bool
}

var _ holdfast.Progress = (*progress)(nil)

// newProgress starts the report of one run afresh: what an earlier run of the
// same job said is about work that is done again.
func newProgress(now clock.Clock) *progress {
	return &progress{now: now, cancellable: true, dirty: true}
}

func (p *progress) Task(name string) {
	p.change(func() {
		p.endTask(Completed)
		p.report.Tasks = append(p.report.Tasks, Task{Name: name, State: InProgress, Started: p.now()})
	})
}

func (p *progress) Bytes(done, total int64) {
	p.change(func() {
		p.report.Done, p.report.Total = done, total
		if n := len(p.report.Tasks); n > 0 {
			p.report.Tasks[n-1].Done, p.report.Tasks[n-1].Total = done, total
		}
	})
}

func (p *progress) Property(key, value string) {
	p.change(func() {
		if p.report.Properties == nil {
			p.report.Properties = map[string]string{}
		}
		p.report.Properties[key] = value
	})
}

func (p *progress) Warn(message string) {
	p.change(func() {
		if !slices.Contains(p.report.Warnings, message) {
			p.report.Warnings = append(p.report.Warnings, message)
		}
	})
}

func (p *progress) Reached(result any) error {
	if p.reached == nil {
		return nil
	}
	return p.reached(result)
}

func (p *progress) Cancellable(yes bool) { p.change(func() { p.cancellable = yes || p.always }) }

// late lets the run be cancelled in every phase.
func (p *progress) late(yes bool) { p.change(func() { p.always = yes }) }

func (p *progress) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.dirty = true
}

// endTask ends the running task, if there is one. p.mu is held.
func (p *progress) endTask(s State) {
	if n := len(p.report.Tasks); n > 0 && p.report.Tasks[n-1].Ended.IsZero() {
		p.report.Tasks[n-1].State, p.report.Tasks[n-1].Ended = s, p.now()
	}
}

// end ends the report with the job's final state.
func (p *progress) end(s State) Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endTask(s)
	return p.copy()
}

// take returns what is to be saved, if anything changed since it was last called.
func (p *progress) take() (r Report, cancellable, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, p.dirty = p.dirty, false
	return p.copy(), p.cancellable, changed
}

func (p *progress) copy() Report {
	r := p.report
	r.Tasks, r.Warnings, r.Properties = slices.Clone(r.Tasks), slices.Clone(r.Warnings), maps.Clone(r.Properties)
	return r
}

// mayCancel says whether the run may be cancelled now.
func (p *progress) mayCancel() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancellable
}
