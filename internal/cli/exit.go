package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast"
	"holdfast/internal/client"
)

// The exit codes. Those of az are kept where az has them.
const (
	ExitOK          = 0
	ExitInternal    = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitRefused     = 4
	ExitJobFailed   = 5
	ExitDetached    = 6
	ExitUnreachable = 7
	ExitNotSignedIn = 8
	ExitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) *usageError {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// jobError is a job that did not succeed.
type jobError struct{ job client.Job }

func (e *jobError) Error() string {
	return fmt.Sprintf("%s of %s: %s.", e.job.Operation, e.job.Entity, e.job.Status)
}

// detached is a job that goes on without us.
type detached struct{ job, follow string }

func (e *detached) Error() string { return "detached from job " + e.job + ", which goes on." }

// Exit is the exit code for an error of a command. An error of another room may
// have one of its own (a method ExitCode() int).
func Exit(err error) int {
	var (
		usage  *usageError
		failed *jobError
		left   *detached
		api    *client.Error
		own    interface{ ExitCode() int }
		kind   *holdfast.Error
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &failed):
		return ExitJobFailed
	case errors.As(err, &left):
		return ExitDetached
	case errors.As(err, &own):
		return own.ExitCode()
	case errors.As(err, &api):
		return exitOfReason[api.Reason]
	case errors.As(err, &kind):
		return exitOfKind(kind.Kind)
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitInternal
}

var exitOfReason = map[client.Reason]int{
	client.Internal:    ExitInternal,
	client.Usage:       ExitUsage,
	client.NotFound:    ExitNotFound,
	client.Refused:     ExitRefused,
	client.NotSignedIn: ExitNotSignedIn,
	client.Unreachable: ExitUnreachable,
	client.Failed:      ExitJobFailed,
	client.Interrupted: ExitInterrupted,
}

func exitOfKind(k holdfast.Kind) int {
	switch k {
	case holdfast.NotFound:
		return ExitNotFound
	case holdfast.Unreachable:
		return ExitUnreachable
	case holdfast.Damaged:
		return ExitJobFailed
	case holdfast.Canceled:
		return ExitInterrupted
	case holdfast.Internal:
		return ExitInternal
	}
	return ExitRefused
}

// printError says what went wrong, and on lines of its own what to do.
func printError(w io.Writer, err error) {
	var (
		usage  *usageError
		failed *jobError
		left   *detached
		api    *client.Error
	)
	switch {
	case err == nil:
	case errors.As(err, &usage):
		fmt.Fprintf(w, "error: %v\n", usage)
		if usage.command != "" {
			fmt.Fprintf(w, "hint: %s --help\n", usage.command)
		}
	case errors.As(err, &failed):
		printJobError(w, failed)
	case errors.As(err, &left):
		fmt.Fprintf(w, "%v\nfollow it with: %s\n", left, left.follow)
	case errors.As(err, &api):
		printAPIError(w, api)
	default:
		fmt.Fprintf(w, "error: %v\n", err)
	}
}

func printAPIError(w io.Writer, e *client.Error) {
	fmt.Fprintf(w, "error: %s", e.Message)
	if e.Code != "" {
		fmt.Fprintf(w, " (%s)", e.Code)
	}
	fmt.Fprintln(w)
	for _, d := range e.Details {
		fmt.Fprintf(w, "  %s\n", d)
	}
	if e.Cause != nil {
		fmt.Fprintf(w, "cause: %v\n", e.Cause)
	}
	if e.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", e.Hint)
	}
}

func printJobError(w io.Writer, e *jobError) {
	fmt.Fprintf(w, "error: %v\n", e)
	for _, one := range e.job.Errors {
		text := one.Message
		if text == "" {
			text = one.Title
		} else if one.Title != "" {
			text += " (" + one.Title + ")"
		}
		fmt.Fprintf(w, "  %s\n", text)
		for _, r := range one.Recommendations {
			fmt.Fprintf(w, "hint: %s\n", r)
		}
	}
}
