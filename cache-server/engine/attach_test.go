// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sealedArena makes a sealed arena and returns its file, its metadata, and what it holds.
func sealedArena(t testing.TB, cfg Config, seed uint64) (arena, meta []byte, holds map[string]kept) {
	t.Helper()
	path := arenaPath(t)
	e, _ := fileEngine(t, path, cfg)
	churn(e, rand.New(rand.NewPCG(seed, 1)), 12_000, 1<<19)
	holds = contents(t, e)
	sealed(t, e)
	return readFile(t, path), readFile(t, path+metaSuffix), holds
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func putFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// resealed changes the record of an arena and puts its checksum right again.
func resealed(arena []byte, change func(*sealRecord)) []byte {
	arena = bytes.Clone(arena)
	var r sealRecord
	if _, err := binary.Decode(arena, binary.LittleEndian, &r); err != nil {
		panic(err)
	}
	change(&r)
	copy(arena, r.encode())
	return arena
}

func TestWhatIsNotSoundStartsCold(t *testing.T) {
	cfg := Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20}
	arena, meta, _ := sealedArena(t, cfg, 1)
	other, otherMeta, _ := sealedArena(t, cfg, 2)
	var record sealRecord
	if _, err := binary.Decode(arena, binary.LittleEndian, &record); err != nil {
		t.Fatal(err)
	}
	foreignTrailer := append(bytes.Clone(arena[:record.Trailer]), other[len(other)-int(record.TrailerSize):]...)
	flipped := func(at int) []byte {
		c := bytes.Clone(arena)
		c[at] ^= 0x10
		return c
	}
	rows := []struct {
		name        string
		arena, meta []byte
		cfg         Config
		reason      string
	}{
		{"nothing there", nil, nil, cfg, "is new"},
		{"a few bytes", []byte("hello"), nil, cfg, "too short"},
		{"a foreign file", bytes.Repeat([]byte("foreign "), 1000), meta, cfg, "no arena of this program"},
		{"zeros", make([]byte, 1<<20), meta, cfg, "no arena of this program"},
		{"no metadata file", arena, nil, cfg, "no metadata file"},
		{"another arena's metadata file", arena, otherMeta, cfg, "does not belong"},
		{"a foreign metadata file", arena, []byte("Kslab_config true\n"), cfg, "no one of this program"},
		{"half a metadata file", arena, meta[:len(meta)/2], cfg, "does not belong"},
		{"another arena's trailer", foreignTrailer, meta, cfg, "trailer is damaged"},
		{"a page less", arena[:len(arena)-unix.Getpagesize()], meta, cfg, "the seal says"},
		{"half of it", arena[:len(arena)/2], meta, cfg, "the seal says"},
		{"a byte more", append(bytes.Clone(arena), 0), meta, cfg, "the seal says"},
		{"a flipped bit in the record", flipped(20), meta, cfg, "seal is damaged"},
		{"a flipped bit in the descriptors", flipped(64 + 5), meta, cfg, "descriptors are damaged"},
		{"a flipped bit in the trailer", flipped(int(record.Trailer) + 50), meta, cfg, "trailer is damaged"},
		{"an older layout", resealed(arena, func(r *sealRecord) { r.Layout = 0 }), meta, cfg, "has layout 0"},
		{"a newer layout", resealed(arena, func(r *sealRecord) { r.Layout = layoutVersion + 1 }), meta, cfg, "has layout"},
		{"one that is in use", resealed(arena, func(r *sealRecord) { r.State = arenaOpen }), meta, cfg, "not sealed"},
		{"another seal's name", resealed(arena, func(r *sealRecord) { r.ID[3]++ }), meta, cfg, "does not belong"},
		{"items may be larger", arena, meta, Config{MaxBytes: 4 << 20, MaxItemSize: 2 << 20}, "the largest item was"},
		{"items may be smaller", arena, meta, Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 19}, "the largest item was"},
		{"a budget out of reach", arena, meta, Config{MaxBytes: 2 << 30, MaxItemSize: 1 << 20}, "out of the arena's reach"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := arenaPath(t)
			putFile(t, path, row.arena)
			if row.meta != nil {
				putFile(t, path+metaSuffix, row.meta)
			}
			e, report := fileEngine(t, path, row.cfg)
			if report.Warm || !strings.Contains(report.Reason, row.reason) {
				t.Errorf("got %+v, want a cold start because %q", report, row.reason)
			}
			if n := len(contents(t, e)); n != 0 {
				t.Errorf("%d items are there", n)
			}
			if _, err := os.Stat(path + metaSuffix); err == nil {
				t.Error("the metadata file is still there")
			}
			churn(e, rand.New(rand.NewPCG(1, 2)), 5000, 1<<18)
			sealed(t, e)
			if _, report := fileEngine(t, path, row.cfg); !report.Warm {
				t.Errorf("after a seal of its own: %s", report.Reason)
			}
		})
	}
}

func TestWhatWasAttachedAndNotSealedIsNotAttachedAgain(t *testing.T) {
	cfg := Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20}
	arena, meta, _ := sealedArena(t, cfg, 1)
	path := arenaPath(t)
	putFile(t, path, arena)
	putFile(t, path+metaSuffix, meta)
	e, report := fileEngine(t, path, cfg)
	if !report.Warm {
		t.Fatal(report.Reason)
	}
	if err := e.Close(); err != nil { // as after a crash: nothing is sealed
		t.Fatal(err)
	}
	putFile(t, path+metaSuffix, meta) // not even if somebody brings the old metadata back
	if _, report = fileEngine(t, path, cfg); report.Warm || !strings.Contains(report.Reason, "not sealed") {
		t.Errorf("got %+v", report)
	}
}

// damage changes a sealed arena at random and tells how.
func damage(r *rand.Rand, arena []byte) ([]byte, string) {
	page := unix.Getpagesize()
	arena = bytes.Clone(arena)
	pages := len(arena) / page
	switch r.IntN(6) {
	case 0:
		n := 1 + r.IntN(64)
		for range n {
			arena[r.IntN(len(arena))] ^= 1 << r.IntN(8)
		}
		return arena, fmt.Sprintf("%d bits flipped", n)
	case 1:
		n := 1 + r.IntN(4)
		for range n {
			a, b := r.IntN(pages)*page, r.IntN(pages)*page
			swap := bytes.Clone(arena[a : a+page])
			copy(arena[a:a+page], arena[b:b+page])
			copy(arena[b:b+page], swap)
		}
		return arena, fmt.Sprintf("%d pairs of pages swapped", n)
	case 2:
		return arena[:r.IntN(len(arena))], "cut short"
	case 3:
		at := r.IntN(pages) * page
		clear(arena[at:min(len(arena), at+page*(1+r.IntN(16)))])
		return arena, "pages lost"
	case 4:
		unit := 1 << minUnitShift
		from, to := r.IntN(len(arena)/unit)*unit, r.IntN(len(arena)/unit)*unit
		copy(arena[to:to+unit], arena[from:from+unit])
		return arena, "a unit copied over another"
	default:
		at := r.IntN(len(arena))
		for i := at; i < min(len(arena), at+1+r.IntN(5000)); i++ {
			arena[i] = byte(r.Uint32())
		}
		return arena, "random bytes"
	}
}

// serves opens a damaged arena: whatever it serves must have been stored under that key.
func serves(t *testing.T, path string, cfg Config, holds map[string]kept, r *rand.Rand) (warm bool, lost uint64) {
	t.Helper()
	e, report := fileEngine(t, path, cfg)
	if r.IntN(2) == 0 {
		e.verifier.stop() // requests alone find what is damaged
	}
	kept := 0
	look := func(key string) {
		v, it, ok := e.Get(nil, []byte(key))
		if !ok {
			return
		}
		kept++
		if w, known := holds[key]; !known || !bytes.Equal(v, w.value) || it.CAS != w.item.CAS || it.Flags != w.item.Flags {
			t.Fatalf("key %q: served %d bytes that were not stored under it", key, len(v))
		}
	}
	for key := range holds {
		switch r.IntN(40) {
		case 0: // mutations and the evictions that they bring meet damage as well
			e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "new-%d", r.IntN(100)), Value: make([]byte, r.IntN(50_000))})
		case 1:
			if res := e.Apply(&Mutation{Verb: Append, Key: []byte(key), Value: []byte("x")}); res.Outcome == Stored {
				v, _, _ := e.Get(nil, []byte(key))
				if w := holds[key]; !bytes.Equal(v, append(bytes.Clone(w.value), 'x')) {
					t.Fatalf("key %q: appended to what was not stored", key)
				}
				e.Apply(&Mutation{Verb: Delete, Key: []byte(key)})
			}
		case 2:
			e.Apply(&Mutation{Verb: Delete, Key: []byte(key)})
		default:
			look(key)
		}
	}
	e.Range(func(key []byte, _ Item) bool {
		if _, known := holds[string(key)]; !known && !bytes.HasPrefix(key, []byte("new-")) {
			t.Fatalf("key %q was never stored", key)
		}
		return true
	})
	for u := range e.pending {
		e.verifyUnit(unit(u))
	}
	e.keeper.stop()
	e.verifier.stop()
	if err := e.check(); err != nil {
		t.Fatalf("inconsistent: %v", err)
	}
	s := e.Stats()
	if s.Unverified != 0 {
		t.Errorf("%d units were never verified", s.Unverified)
	}
	churn(e, r, 500, 1<<18)
	if err := e.Seal(context.Background()); err != nil {
		t.Error(err)
	}
	return report.Warm, s.LostUnits
}

// TestDamageIsNeverServed damages sealed arenas at random.
func TestDamageIsNeverServed(t *testing.T) {
	cfg := Config{MaxBytes: 3 << 20, MaxItemSize: 1 << 20}
	arena, meta, holds := sealedArena(t, cfg, 7)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	warm, mended := 0, 0
	rounds := 300 / slowdown
	for i := range rounds {
		path := arenaPath(t)
		damaged, how := damage(r, arena)
		putFile(t, path, damaged)
		putFile(t, path+metaSuffix, meta)
		w, lost := serves(t, path, cfg, holds, r)
		if t.Failed() {
			t.Fatalf("seed %d, round %d: %s", seed, i, how)
		}
		if w {
			warm++
		}
		if lost > 0 {
			mended++
		}
	}
	t.Logf("%d of %d damaged arenas were attached, %d of them mended", warm, rounds, mended)
	if warm < rounds/5 || mended < rounds/10 {
		t.Errorf("%d of %d damaged arenas were attached, %d mended: too few to tell", warm, rounds, mended)
	}
}

// FuzzAttach lets the fuzzer choose where bytes change.
func FuzzAttach(f *testing.F) {
	cfg := Config{MaxBytes: 1 << 20, MaxItemSize: 1 << 19}
	path := arenaPath(f)
	e, _ := fileEngine(f, path, cfg)
	churn(e, rand.New(rand.NewPCG(9, 1)), 3000, 1<<17)
	holds := contents(f, e)
	sealed(f, e)
	arena, meta := readFile(f, path), readFile(f, path+metaSuffix)
	f.Add(uint32(0), uint32(len(arena)), []byte("x"))
	f.Add(uint32(64), uint32(len(arena)), []byte{0xff, 0, 0, 0, 1})
	f.Add(uint32(1<<17), uint32(len(arena)), bytes.Repeat([]byte{1}, 40))
	f.Add(uint32(len(arena)-300), uint32(len(arena)-1), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, at, size uint32, xor []byte) {
		damaged := bytes.Clone(arena)
		for i, x := range xor {
			damaged[(uint64(at)+uint64(i))%uint64(len(damaged))] ^= x
		}
		dst := arenaPath(t)
		putFile(t, dst, damaged[:min(uint64(size), uint64(len(damaged)))])
		putFile(t, dst+metaSuffix, meta)
		serves(t, dst, cfg, holds, rand.New(rand.NewPCG(uint64(at), uint64(size))))
	})
}

// TestADamagedUnitTakesItsItemsAlone damages one segment and then one unit of the index.
func TestADamagedUnitTakesItsItemsAlone(t *testing.T) {
	cfg := Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20}
	for _, row := range []struct {
		name  string
		state uint32
		most  func(all, unit int64, parts int) int64
	}{
		{"a segment", unitSealed, func(_, unit int64, _ int) int64 { return unit }},
		{"a unit of the index", unitIndex, func(all, _ int64, parts int) int64 { return all / int64(parts) * 12 / 10 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := arenaPath(t)
			e, _ := fileEngine(t, path, cfg)
			for i := range 60_000 {
				e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 50)})
			}
			all, parts := e.Stats().CurrItems, len(e.parts)
			e.keeper.stop()
			u := unit(1)
			for e.arena.desc(u).state != row.state || row.state == unitSealed && e.arena.desc(u).records == 0 {
				u++
			}
			held, at := int64(e.arena.desc(u).records), int64(e.arena.start(u))
			sealed(t, e)
			arena := readFile(t, path)
			arena[at+100] ^= 4
			putFile(t, path, arena)
			var told Loss
			with := cfg
			with.OnLoss = func(l Loss) { told.Units += l.Units; told.Items += l.Items }
			e, _ = fileEngine(t, path, with)
			for u := range e.pending {
				e.verifyUnit(unit(u))
			}
			e.verifier.stop()
			e.keeper.stop()
			s := e.Stats()
			lost := all - s.CurrItems
			if lost <= 0 || lost > row.most(all, held, parts) || s.LostUnits != 1 || int64(s.LostItems) != lost {
				t.Errorf("%d of %d items are lost, %d were in the unit: %+v", lost, all, held, s)
			}
			if told.Units != 1 || told.Items != lost {
				t.Errorf("told of %+v", told)
			}
			if err := e.check(); err != nil {
				t.Error(err)
			}
		})
	}
}
