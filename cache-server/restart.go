// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// sealTimeout is how long a stop may take to leave the items to the next process. A pod has 30 s in all.
const sealTimeout = 10 * time.Second

// handover is how long a start waits for the process before to let go of the arena.
const handover = 5 * time.Second

// arena is where the items may outlive the process.
type arena struct {
	path string
	fd   int // 0 means none
}

// check refuses what cannot work.
func (a arena) check() error {
	switch {
	case a.path != "" && a.fd != 0:
		return errors.New("a memory file and a memory descriptor are given: use one of them")
	case a.fd < 0 || a.fd == 1 || a.fd == 2:
		return fmt.Errorf("the memory descriptor is %d: it must be 3 or more", a.fd)
	}
	return nil
}

func (a arena) open() (*engine.Backing, error) {
	switch {
	case a.path != "":
		return engine.BackingFile(a.path) //nolint:wrapcheck // it names the file
	case a.fd != 0:
		return engine.BackingDescriptor(a.fd) //nolint:wrapcheck // it names the descriptor
	default:
		return nil, nil
	}
}

// openEngine makes the engine, with the items of the process before where they are to be had.
func (p *plan) openEngine(cfg engine.Config) (*engine.Engine, error) {
	backing, err := p.arena.open()
	for deadline := time.Now().Add(handover); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		backing, err = p.arena.open()
	}
	if err != nil {
		return nil, err
	}
	cfg.Backing = backing
	cfg.OnLoss = func(l engine.Loss) {
		p.log.Error("Items dropped: their memory failed its checksum", "units", l.Units, "items", l.Items)
	}
	started := time.Now()
	e, report, err := engine.Open(cfg)
	switch {
	case err != nil:
		return nil, fmt.Errorf("make the engine: %w", err)
	case backing == nil:
	case report.Warm:
		log := p.log
		if report.Reason != "" {
			log = log.With("change", report.Reason)
		}
		log.Info("Reattached", "items", report.Items, "took", time.Since(started).String())
	default:
		p.log.Info("Started cold", "reason", report.Reason)
	}
	return e, nil
}

// closeEngine ends the engine, and leaves the items to the next process if they have a place to stay.
func (p *plan) closeEngine(ctx context.Context, e *engine.Engine) error {
	if p.arena == (arena{}) {
		if err := e.Close(); err != nil {
			return fmt.Errorf("close the engine: %w", err)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTimeout)
	defer cancel()
	started, items := time.Now(), e.Stats().CurrItems
	if err := e.Seal(ctx); err != nil {
		return fmt.Errorf("leave the items to the next process: %w", err)
	}
	p.log.Info("Sealed", "items", items, "took", time.Since(started).String())
	return nil
}
