package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/client"
)

// finish ends a command that has started work: it follows the job and prints
// how it ended, or with noWait says how to follow it.
func (s *session) finish(w client.Work, noWait bool) error {
	job, err := s.run(w, noWait)
	if job.Name == "" {
		return err
	}
	if s.output == asJSON {
		return errors.Join(err, printJSON(s.out(), job.Raw))
	}
	if noWait {
		_, problem := fmt.Fprintln(s.out(), job.Name)
		return errors.Join(err, problem)
	}
	if job.Ended() {
		return errors.Join(err, s.summary(job))
	}
	return err
}

// run follows a job to its end. A job that did not succeed is an error. With
// noWait it is looked at once.
func (s *session) run(w client.Work, noWait bool) (client.Job, error) {
	ctx := s.cmd.Context()
	if w.Job == "" {
		return client.Job{}, nil
	}
	s.note("job %s", w.Job)
	if noWait {
		job, err := s.client.Job(ctx, w.Vault, w.Job)
		s.note("follow it with: %s", s.followWith(w))
		return job, err
	}
	p := newProgress(s.cmd.ErrOrStderr(), s.getenv)
	away := func(err error) {
		p.line("  the server does not answer; waiting for it (the job is kept by the server)")
	}
	job, err := s.client.Follow(ctx, w, p.show, away)
	p.clear()
	switch {
	case err != nil && ctx.Err() != nil:
		return job, &detached{job: w.Job, follow: s.followWith(w)}
	case err != nil:
		s.note("follow it with: %s", s.followWith(w))
		return job, err
	case !job.Succeeded():
		return job, &jobError{job}
	}
	return job, nil
}

// followWith is the command line that follows a job.
func (s *session) followWith(w client.Work) string {
	line := "holdfast job watch " + w.Job + " --vault " + shellQuote(w.Vault.Name)
	if s.env != "" {
		line += " --env " + shellQuote(s.env)
	}
	return line
}

// shellQuote quotes s for a POSIX shell where it needs it.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("_-./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// summary prints how a job ended: all that its mover had to say.
func (s *session) summary(j client.Job) error {
	end := fmt.Sprintf("%s of %s: %s", j.Operation, j.Entity, j.Status)
	if !j.Start.IsZero() && !j.End.IsZero() {
		end += " in " + took(j.End.Sub(j.Start))
	}
	if j.Done > 0 {
		end += ", " + size(j.Done)
		if d := j.End.Sub(j.Start); d > 0 {
			end += fmt.Sprintf(" (%s/s)", size(int64(float64(j.Done)/d.Seconds())))
		}
	}
	fmt.Fprintln(s.out(), printable(end))
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(j.Properties)) {
		rows = append(rows, []string{"  " + name, j.Properties[name]})
	}
	if err := table(s.out(), rows); err != nil {
		return err
	}
	if j.Succeeded() {
		for _, e := range j.Errors {
			s.note("warning: %s", printable(strings.TrimSpace(e.Message+" "+strings.Join(e.Recommendations, " "))))
		}
	}
	if j.Warning != "" {
		s.note("warning: %s", printable(j.Warning))
	}
	return nil
}

// elapsed is how long a job ran or has been running.
func elapsed(j client.Job) string {
	switch {
	case j.Start.IsZero():
		return ""
	case j.End.IsZero():
		return took(time.Since(j.Start))
	}
	return took(j.End.Sub(j.Start))
}
