package service

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
)

// JobFilter picks jobs of a vault.
type JobFilter = job.Filter

// JobStates are the words for how far a job is.
func JobStates() []string { return job.States() }

// VaultJobs lists the jobs of a vault, newest first.
func (s *Service) VaultJobs(ctx context.Context, vault string, f JobFilter) ([]Job, error) {
	f.Scope = vault
	return read(ctx, s.Catalog, func(tx *catalog.Tx) ([]Job, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		return job.List(tx, f)
	})
}

// VaultJob returns one job of a vault.
func (s *Service) VaultJob(ctx context.Context, vault, id string) (Job, error) {
	return read(ctx, s.Catalog, func(tx *catalog.Tx) (Job, error) {
		j, err := job.Get(tx, id)
		if err == nil && j.Scope != strings.ToLower(vault) {
			err = holdfast.Errorf(holdfast.NotFound, id, "The job %q was not found.", id)
		}
		return j, err
	})
}

// CancelJob asks a job of a vault to stop.
func (s *Service) CancelJob(ctx context.Context, vault, id string) error {
	if _, err := s.VaultJob(ctx, vault, id); err != nil {
		return err
	}
	return s.Jobs.Cancel(ctx, strings.ToLower(id))
}
