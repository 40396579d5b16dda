package holdfast

import "time"

// VerifyArgs asks whether a VM comes up from a point: it is booted straight from it,
// without any network, looked at and taken away.
type VerifyArgs struct {
	// Restore makes the VM, alone: CreateVM, Isolated, in a Directory of its own,
	// which is made and removed. Its RestoreID marks all of it.
	Restore RestoreArgs `json:"restore"`
	// Check is a program with its arguments that has to end with 0 in the guest;
	// none: it is enough that the guest agent answers.
	Check []string `json:"check,omitempty"`
	// Patience is how long the agent, and then the check, may take.
	Patience time.Duration `json:"patience"`
}

// VerifyResult is what was seen of a VM that came up from a point.
type VerifyResult struct {
	PointID string    `json:"pointId"`
	Time    time.Time `json:"time"` // when it ended, server clock
	// Failure is why the point is not proved; "" when it is.
	Failure string `json:"failure,omitempty"`
	// Answered is how long the guest took from its start to the agent's first
	// answer; 0 when none came.
	Answered time.Duration `json:"answered"`
	Output   string        `json:"output,omitempty"` // of the check, cut
	// Screen is the console at the end, a PNG; none when the VM shows none.
	Screen []byte `json:"screen,omitempty"`
}
