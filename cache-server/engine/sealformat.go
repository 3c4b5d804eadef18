// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// layoutVersion is raised by every change of what the arena holds: records, index, descriptors, or what is
// sealed of a partition. An arena of another version is not reattached.
const layoutVersion = 3

// A sealed arena has three parts beside its units: the record in the place of unit 0's descriptor, which
// does not exist; the descriptors; and the trailer behind the last unit, which holds what an engine keeps
// in Go memory, and a checksum for every unit in use. The record has the trailer's checksum, the trailer
// that of the descriptors.
//
//	arena   | record 64 | descriptors | units ... | trailer |
//
// All numbers are little-endian, as in memory on every machine that this runs on.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

var sealMagic = [8]byte{'M', 'K', 'A', 'R', 'E', 'N', 'A', '\n'}

// The states of an arena.
const (
	arenaOpen   uint32 = 0x0ffe0000 // in use, or left by a process that did not stop gracefully
	arenaSealed uint32 = 0x5ea1ed00
)

// sealID ties the record, the trailer and the metadata file of one graceful stop together.
type sealID [16]byte

// sealRecord stands at the start of the arena.
type sealRecord struct {
	Magic       [8]byte
	Layout      uint32
	State       uint32
	ID          sealID
	Trailer     uint64 // where the trailer starts
	Size        uint64 // the file's size; the trailer ends there, or before if the file could not shrink
	TrailerSize uint32
	TrailerSum  uint32
	_           uint32
	Sum         uint32 // of all of the record before it
}

const sealRecordSize = 64

// sealedHead starts the trailer.
type sealedHead struct {
	ID sealID
	// Config is what the next start must have in common.
	MaxItem  int64
	PageSize uint32
	Shift    uint32
	Parts    uint32
	Units    uint32 // how many units the mapping has room for
	Reserved int64
	Budget   int64

	Key         [2]uint64
	CAS         uint64
	Barrier     uint64
	FlushAt     int64
	Epoch       int64
	Second      int64 // the engine's clock at the seal
	High        uint32
	Returned    uint32
	Used        int64
	Descriptors uint32 // checksum
	Power       uint32
	Classes     uint32 // checksum of the bounds of the classes of sizes
	IndexUnits  uint32 // how many numbers of index units follow the partitions
}

// sealedClass is what is held of a class of sizes.
type sealedClass struct {
	Items, Bytes int64
	Used         uint8
}

// sealedPart is what is kept of a partition. The units of its index follow in the order of the partitions.
type sealedPart struct {
	IndexUnits                uint32
	Spare, Spares             uint32
	Oldest, Newest, Segments  [2]uint32
	N, Next, Sweep, Items     uint64
	Units, Dead               int64
	Drain, Cursor, DrainFlags uint32
	Laps, CleanAt             uint32
	Excess                    uint32
	Count, Bytes              int64 // statistics; counters of events begin anew
	Classes                   [maxSizeClasses]sealedClass
}

// encode appends the record.
func (r *sealRecord) encode() []byte {
	buf, err := binary.Append(make([]byte, 0, sealRecordSize), binary.LittleEndian, r)
	if err != nil {
		panic(err) // the type has a fixed size
	}
	binary.LittleEndian.PutUint32(buf[sealRecordSize-4:], checksum(buf[:sealRecordSize-4]))
	return buf
}

// decodeRecord reads a record, or says why nothing is reattached.
func decodeRecord(buf []byte) (sealRecord, error) {
	var r sealRecord
	if _, err := binary.Decode(buf, binary.LittleEndian, &r); err != nil {
		return r, errors.New("the file is too short for an arena")
	}
	switch {
	case r.Magic != sealMagic:
		return r, errors.New("the file is no arena of this program")
	case r.Sum != checksum(buf[:sealRecordSize-4]):
		return r, errors.New("the seal is damaged")
	case r.Layout != layoutVersion:
		return r, fmt.Errorf("the arena has layout %d, this program has %d", r.Layout, layoutVersion)
	case r.State != arenaSealed:
		return r, errors.New("the arena was not sealed by a graceful stop")
	}
	return r, nil
}

// metaFile is the text of the metadata file.
func metaFile(r *sealRecord) string {
	text := fmt.Sprintf("memkeep-arena %d\nseal %s\nbytes %d\n", r.Layout, hex.EncodeToString(r.ID[:]), r.Size)
	return text + fmt.Sprintf("checksum %08x\n", checksum([]byte(text)))
}

// writeMeta puts the metadata file in place in one step.
func (b *Backing) writeMeta(r *sealRecord) error {
	if b.meta == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(b.meta), filepath.Base(b.meta)+".*")
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	_, err = f.WriteString(metaFile(r))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), b.meta)
	}
	if err != nil {
		return fmt.Errorf("write metadata: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// takeMeta removes the metadata file and returns what it said.
func (b *Backing) takeMeta() (text string, err error) {
	if b.meta == "" {
		return "", nil
	}
	const most = 4096
	buf := make([]byte, most)
	n := 0
	f, err := os.Open(b.meta)
	if err == nil {
		n, _ = f.Read(buf)
		err = f.Close()
	}
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = os.Remove(b.meta)
	}
	if err != nil {
		return "", fmt.Errorf("take metadata: %w", err)
	}
	return string(buf[:n]), syncDir(filepath.Dir(b.meta))
}

// checkMeta compares the metadata file with the record, if there is to be one.
func (b *Backing) checkMeta(text string, r *sealRecord) error {
	switch {
	case b.meta == "" || text == metaFile(r):
		return nil
	case text == "":
		return errors.New("there is no metadata file beside it")
	case !strings.HasPrefix(text, "memkeep-arena "):
		return errors.New("the metadata file is no one of this program")
	default:
		return errors.New("the metadata file does not belong to it")
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the directory of the file that was asked for
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = errors.Join(dir.Sync(), dir.Close())
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// encodeTrailer writes what was sealed in the order head, partitions, index units, checksums of units.
func encodeTrailer(head *sealedHead, parts []sealedPart, dir, sums []uint32) []byte {
	var buf bytes.Buffer
	for _, v := range []any{head, parts, dir, sums} {
		if err := binary.Write(&buf, binary.LittleEndian, v); err != nil {
			panic(err) // the types have fixed sizes, and a buffer takes everything
		}
	}
	return buf.Bytes()
}

// decodeTrailer reads what encodeTrailer wrote. It allocates no more than the trailer's size allows.
func decodeTrailer(buf []byte) (head sealedHead, parts []sealedPart, dir, sums []uint32, err error) {
	take := func(v any) {
		if err != nil {
			return
		}
		n, e := binary.Decode(buf, binary.LittleEndian, v)
		buf, err = buf[n:], e
	}
	take(&head)
	most := uint32(len(buf)) / 4
	if err != nil || head.Parts > maxPartitions || head.IndexUnits > most || head.High >= most {
		return head, nil, nil, nil, errors.New("the trailer is damaged")
	}
	parts, dir, sums = make([]sealedPart, head.Parts), make([]uint32, head.IndexUnits), make([]uint32, head.High+1)
	take(parts)
	take(dir)
	take(sums)
	if err != nil || len(buf) != 0 {
		return head, nil, nil, nil, errors.New("the trailer is damaged")
	}
	return head, parts, dir, sums, nil
}
