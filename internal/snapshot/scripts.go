package snapshot

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/guest"
)

// readScripts looks for the guest's script configuration. Without a usable one
// the snapshot is file-system consistent at best, and says why.
func (f *freezer) readScripts(ctx context.Context) {
	s, err := f.agent.Scripts(ctx)
	if err != nil {
		f.t.warn("not application-consistent: %v", err)
		return
	}
	f.scripts = &s
}

// before runs the pre-script. The watchdog runs the post-script should this
// process die. ErrScript when the configuration wants no backup without it.
func (f *freezer) before(ctx context.Context) error {
	if f.scripts == nil {
		return nil
	}
	if err := f.t.dog.quiet(f.scripts.Post); err != nil {
		return err
	}
	err := f.script(ctx, f.scripts.Pre, f.scripts.PreTries)
	if err == nil {
		f.quiet = true
		return nil
	}
	if !f.scripts.ContinueOnFailure {
		return errors.Join(fmt.Errorf("%w: %w", ErrScript, err), f.after(ctx))
	}
	f.t.warn("not application-consistent: the pre-script failed: %v", err)
	return nil
}

// after runs the post-script, whatever became of the pre-script and the
// snapshot: the applications must go on.
func (f *freezer) after(ctx context.Context) error {
	if f.scripts == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := f.script(ctx, f.scripts.Post, f.scripts.PostTries)
	f.t.dog.loud()
	if err == nil {
		return nil
	}
	if !f.scripts.ContinueOnFailure {
		return fmt.Errorf("%w: %w", ErrScript, err)
	}
	f.t.warn("the post-script failed: %v", err)
	return nil
}

// script runs one script and keeps what it said.
func (f *freezer) script(ctx context.Context, c guest.Command, tries int) error {
	output, err := f.agent.Script(ctx, c, tries, f.scripts.Timeout)
	run := ScriptRun{Path: c.Path, Output: output}
	if err != nil {
		run.Err = err.Error()
	}
	f.t.snap.Scripts = append(f.t.snap.Scripts, run)
	return err
}

// warn adds something that the job's user must know.
func (t *taken) warn(format string, args ...any) {
	t.snap.Warnings = append(t.snap.Warnings, fmt.Sprintf(format, args...))
}
