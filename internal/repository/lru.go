package repository

import (
	"container/list"
	"sync"
)

// lru keeps values up to a total cost, dropping the least recently used. It is
// safe for concurrent use.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	limit int64
	cost  int64
	order *list.List // of *lruItem[K, V], newest first
	items map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), items: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V, cost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.items[key]; ok {
		l.drop(e)
	}
	l.items[key] = l.order.PushFront(&lruItem[K, V]{key, value, cost})
	l.cost += cost
	for l.cost > l.limit && l.order.Len() > 1 {
		l.drop(l.order.Back())
	}
}

func (l *lru[K, V]) remove(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.items[key]; ok {
		l.drop(e)
	}
}

// removeIf forgets all keys of which which is true.
func (l *lru[K, V]) removeIf(which func(K) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.items {
		if which(key) {
			l.drop(e)
		}
	}
}

func (l *lru[K, V]) drop(e *list.Element) {
	it := l.order.Remove(e).(*lruItem[K, V])
	delete(l.items, it.key)
	l.cost -= it.cost
}
