package s3

// SetClaimTries makes the store give up sooner.
func (s *Store) SetClaimTries(n int) { s.claimTries = n }
