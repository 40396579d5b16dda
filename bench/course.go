package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/bench/report"
)

// errPaused means that there is more to do: run again with -resume.
var errPaused = errors.New("paused; -resume goes on")

// step is a piece of a long measurement.
type step struct {
	name string
	run  func(context.Context) error
}

// course is a long measurement that can pause between two of its steps, so
// that a machine that others need too is quiet for some minutes at a time.
type course struct {
	file   string
	pauses bool
	until  time.Time // no step begins after it, if it pauses

	Done  []string `json:"done"`
	Begun string   `json:"begun,omitempty"` // a step that was begun and did not end
}

// load reads how far an earlier run came.
func (c *course) load() error {
	raw, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("nothing to resume: %w", err)
	}
	if err := json.Unmarshal(raw, c); err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	if c.Begun != "" {
		return fmt.Errorf("the run was cut off within %q, so its stores are in no known state: begin anew without -resume", c.Begun)
	}
	return nil
}

// do runs a step that has not been done yet. The first step of a course begins
// in an empty folder.
func (c *course) do(ctx context.Context, s step) error {
	if slices.Contains(c.Done, s.name) {
		return nil
	}
	if c.pauses && time.Now().After(c.until) {
		log.Printf("next is %s", s.name)
		return errPaused
	}
	if len(c.Done) == 0 {
		dir := filepath.Dir(c.file)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return err
		}
	}
	c.Begun = s.name
	if err := report.Write(c.file, c); err != nil {
		return err
	}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	c.Done, c.Begun = append(c.Done, s.name), ""
	return report.Write(c.file, c)
}
