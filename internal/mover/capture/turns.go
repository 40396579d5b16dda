package capture

import (
	"context"
	"sync"
)

// turns lets one capture of a VM go at a time. The zero value works.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // by UUID; closed when the turn is over
}

// take waits for the VM's turn, or for ctx to end.
func (t *turns) take(ctx context.Context, uuid string) (leave func(), err error) {
	for {
		leave, over := t.enter(uuid)
		if leave != nil {
			return leave, nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try takes the turn if it is free.
func (t *turns) try(uuid string) (leave func(), free bool) {
	leave, _ = t.enter(uuid)
	return leave, leave != nil
}

// enter takes the turn, or says when to ask again.
func (t *turns) enter(uuid string) (leave func(), over <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over, taken := t.taken[uuid]; taken {
		return nil, over
	}
	if t.taken == nil {
		t.taken = map[string]chan struct{}{}
	}
	mine := make(chan struct{})
	t.taken[uuid] = mine
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.taken, uuid)
		close(mine)
	}, nil
}
