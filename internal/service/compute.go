package service

import "holdfast/internal/job"

func (s *Service) registerCompute() {
	job.Register(s.Jobs, kindMachine, s.Machine, machineDone)
	if s.Delete != nil {
		job.Register(s.Jobs, kindDeleteRestorePoint, s.Delete, s.restorePointGone)
	}
	if s.RestorePoint != nil {
		job.Register(s.Jobs, kindRestorePoint, s.RestorePoint, s.restorePointDone)
	}
}
