// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	pollEvery   = 200 * time.Millisecond
	reportEvery = 5 * time.Second
	endMargin   = 50 * time.Millisecond
)

// Eventually tries cond until it returns nil and returns how long that took. It
// says every few seconds what is still missing, and gives up after limit.
func (c *Cluster) Eventually(
	ctx context.Context, what string, limit time.Duration, cond func(context.Context) error,
) (time.Duration, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	report := start.Add(reportEvery)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var missing error
	for {
		if err := cond(ctx); err == nil {
			return time.Since(start), nil
		} else if _, foreign := errors.AsType[*tls.CertificateVerificationError](err); foreign {
			return time.Since(start), fmt.Errorf("%s: the cluster is another one now: %w", what, err)
		} else if missing == nil || time.Since(start) < limit-endMargin {
			// An error made by the end of the wait itself says nothing.
			missing = err
		}
		select {
		case <-ctx.Done():
			return time.Since(start), fmt.Errorf("%s: not within %s: %w", what, limit, missing)
		case now := <-ticker.C:
			if now.After(report) {
				c.Progress("%s: not after %.0f s: %s", what, time.Since(start).Seconds(), Saw(missing))
				report = now.Add(reportEvery)
			}
		}
	}
}

// Saw returns what was seen of a broken promise, for a reader who knows the
// promise; any other error as it is.
func Saw(err error) string {
	if broken, ok := errors.AsType[*BrokenError](err); ok {
		return broken.Saw
	}
	return err.Error()
}

// Gone waits until an object does not exist any more.
func (c *Cluster) Gone(ctx context.Context, obj client.Object, limit time.Duration) error {
	what := obj.GetName() + " gone"
	if gvk, err := c.GroupVersionKindFor(obj); err == nil {
		what = gvk.Kind + " " + what
	}
	_, err := c.Eventually(ctx, what, limit, func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("it is still there (finalizers %v)", obj.GetFinalizers())
	})
	return err
}
