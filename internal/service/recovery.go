package service

import "holdfast/internal/job"

func (s *Service) registerRecovery() {
	s.Jobs.OnEnd(s.jobEnded)
	job.Register(s.Jobs, kindBackup, s.Backup, s.backupDone)
	job.OnReached(s.Jobs, kindBackup, s.backupReached)
	if s.Delete != nil {
		job.Register(s.Jobs, kindDelete, s.Delete, s.deleteDone)
		job.Register(s.Jobs, kindPrune, s.Delete, s.pruneDone)
	}
}
