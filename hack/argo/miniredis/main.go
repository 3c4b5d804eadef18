// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command miniredis serves an in-memory Redis at the address of its argument:
// what Argo CD's two processes tell each other by. It keeps nothing.
package main

import (
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: miniredis ADDRESS")
	}
	redis := miniredis.NewMiniRedis()
	if err := redis.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	log.Print("listening at ", redis.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	clock := time.NewTicker(time.Second)
	for {
		select {
		case <-clock.C: // keys expire only as far as this clock is told to go on
			redis.FastForward(time.Second)
		case <-stop:
			redis.Close()
			return
		}
	}
}
