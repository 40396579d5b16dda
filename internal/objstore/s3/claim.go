package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast/internal/objstore"
)

// condition is what is known of the server's conditional put.
type condition int

const (
	unknown condition = iota
	honoured
	ignored // or refused
)

// create makes the object or fails with ErrExist.
func (s *Store) create(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) error {
	c, err := s.conditionalPut(ctx)
	if err != nil {
		return fmt.Errorf("try the server's conditional put: %w", err)
	}
	if c == honoured {
		return s.upload(ctx, key, body, opt, true)
	}
	return s.claimed(ctx, key, body, opt)
}

// ConditionalPut says whether the server honours If-None-Match: *, on which the
// cheap and certain way of creating an object rests. The first call tries it.
func (s *Store) ConditionalPut(ctx context.Context) (bool, error) {
	c, err := s.conditionalPut(ctx)
	return c == honoured, err
}

// conditionalPut puts one object twice, once for the life of the Store.
func (s *Store) conditionalPut(ctx context.Context) (condition, error) {
	s.probe.Lock()
	defer s.probe.Unlock()
	if s.conditional != unknown {
		return s.conditional, nil
	}
	key := s.prefix + "+probe/" + strings.ToLower(rand.Text())
	probe := bytes.NewReader([]byte("holdfast tries conditional puts with this object; it can be deleted\n"))
	// Unconditional first: a server may refuse what it doesn't know.
	if err := s.upload(ctx, key, probe, objstore.PutOptions{}, false); err != nil {
		return unknown, err
	}
	err := s.upload(ctx, key, probe, objstore.PutOptions{}, true)
	switch {
	case errors.Is(classify(err), objstore.ErrExist):
		s.conditional = honoured
	case err == nil, isNotImplemented(err):
		s.conditional = ignored
	}
	if rerr := s.removeKey(ctx, key); err == nil {
		err = rerr
	}
	if s.conditional == unknown {
		return unknown, err
	}
	return s.conditional, nil
}

func isNotImplemented(err error) bool {
	r, ok := response(err)
	return ok && (r.StatusCode == 501 || r.Code == "NotImplemented" || r.Code == "InvalidArgument")
}

// removeKey removes every version of a key of the store's own, as far as locks
// let it.
func (s *Store) removeKey(ctx context.Context, key string) error {
	for {
		o, err := s.stat(ctx, strings.TrimPrefix(key, s.prefix))
		if errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		err = s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{VersionID: o.VersionID})
		if err != nil || o.VersionID == "" {
			return err
		}
	}
}

// claimed creates the object on a server without conditional put. It rests on
// the server's lists and reads being consistent (which they must be anyway):
//
//  1. put a claim "+claim/K.RANDOM.C", with the SHA-256 of key and content in
//     hexadecimal (flat and short, for servers that make directories of keys);
//  2. list the claims of KEY: if there's another, take ours back and begin
//     anew after a while, because its owner may not have seen ours;
//  3. ask for KEY: if it's there, ErrExist;
//  4. put KEY; take the claim back.
//
// Of two that claim at once at least one sees the other's claim, because each
// lists after it has claimed: so never two come to step 3 at the same time, and
// the second finds the first's object there. When it's unclear whether the
// server will still do step 4, the claim stays; so does that of a process that
// died. It isn't timed out, because its owner might only be slow; but a claim
// on the same content can be passed, so that the same put can be repeated, and
// one on other content is an error that names the key to delete by hand.
// Holdfast's names are random or carry one content, so that this is rare.
func (s *Store) claimed(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	claims := s.prefix + "+claim/" + hash([]byte(key)) + "."
	for try := 0; ; try++ {
		ours := claims + strings.ToLower(rand.Text()) + "." + sum
		if err := s.upload(ctx, ours, bytes.NewReader(nil), objstore.PutOptions{}, false); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		other, err := s.otherClaim(ctx, claims, ours)
		passed := try == s.claimTries && strings.HasSuffix(other, "."+sum)
		if err == nil && (other == "" || passed) {
			err = s.createAlone(ctx, key, body, opt)
			if isUnclear(err) {
				return fmt.Errorf("claim %s stays: %w", ours, err)
			}
			return errors.Join(err, s.removeKey(context.WithoutCancel(ctx), ours))
		}
		if rerr := s.removeKey(context.WithoutCancel(ctx), ours); err == nil {
			err = rerr
		}
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		if ok, err := s.hasKey(ctx, key); ok || err != nil {
			return errors.Join(err, existsIf(ok))
		}
		if try == s.claimTries {
			return fmt.Errorf("the name is claimed by another put, or by one that died: if no other is running, delete %q", other)
		}
		if err := wait(ctx, time.Duration(mathrand.Int64N(int64(20*time.Millisecond)<<min(try, 8)))); err != nil {
			return err
		}
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// claimTries takes 20 seconds or so.
const claimTries = 14

// isUnclear says whether the server may still do what failed with err.
func isUnclear(err error) bool {
	if err == nil || errors.Is(err, objstore.ErrExist) {
		return false
	}
	r, ok := response(err)
	return !ok || r.StatusCode >= 500 || r.StatusCode == 0
}

// otherClaim returns the key of a claim that isn't ours, or "".
func (s *Store) otherClaim(ctx context.Context, claims, ours string) (string, error) {
	seen := false
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: claims, Recursive: true}) {
		if o.Err != nil {
			return "", o.Err
		}
		seen = seen || o.Key == ours
		if o.Key != ours {
			return o.Key, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if !seen {
		return "", errors.New("the server's list misses an object just put: the store can't be used safely")
	}
	return "", nil
}

func (s *Store) createAlone(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) error {
	ok, err := s.hasKey(ctx, key)
	if err != nil || ok {
		return errors.Join(err, existsIf(ok))
	}
	return s.upload(ctx, key, body, opt, false)
}

func (s *Store) hasKey(ctx context.Context, key string) (bool, error) {
	_, err := s.stat(ctx, strings.TrimPrefix(key, s.prefix))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func existsIf(there bool) error {
	if there {
		return objstore.ErrExist
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
