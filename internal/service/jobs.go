package service

import (
	"context"
	"strings"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/job"
	"holdfast/internal/resource"
)

// JobStates are the words for how far a job is.
func JobStates() []string { return job.States() }

// VaultJobs lists the jobs of a vault, newest first.
func (s *Service) VaultJobs(ctx context.Context, vault string, f job.Filter) ([]job.Job, error) {
	f.Scope = vault
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) ([]job.Job, error) {
		if _, err := findVault(tx, vault); err != nil {
			return nil, err
		}
		return job.List(tx, f)
	})
}

// VaultJob returns one job of a vault.
func (s *Service) VaultJob(ctx context.Context, vault, id string) (job.Job, error) {
	return resource.Read(ctx, s.Catalog, func(tx *catalog.Tx) (job.Job, error) {
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
