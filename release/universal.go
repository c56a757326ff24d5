package main

import (
	"bytes"
	"debug/macho"
	"encoding/binary"
	"fmt"
	"os"
)

// sliceAlignment is the power of two at which each slice begins: Macs with an arm64 processor have pages of 16 KiB.
const sliceAlignment = 14

// writeUniversal writes one file for Macs from a binary for each processor. The slices stay as they are: the one for
// arm64 is signed by Go's linker and would not start otherwise.
func writeUniversal(path string, slices []string) error {
	headers := make([]macho.FatArchHeader, len(slices))
	contents := make([][]byte, len(slices))
	end := 8 + 20*len(slices) // two words for the file, five for each slice
	for i, slice := range slices {
		content, err := os.ReadFile(slice)
		if err != nil {
			return fmt.Errorf("reading a slice of the universal binary: %w", err)
		}
		file, err := macho.NewFile(bytes.NewReader(content))
		if err != nil {
			return fmt.Errorf("reading %s as a Mach-O file: %w", slice, err)
		}
		offset := (end + 1<<sliceAlignment - 1) >> sliceAlignment << sliceAlignment
		headers[i] = macho.FatArchHeader{
			Cpu: file.Cpu, SubCpu: file.SubCpu,
			Offset: uint32(offset), Size: uint32(len(content)), Align: sliceAlignment,
		}
		contents[i] = content
		end = offset + len(content)
	}

	var all bytes.Buffer
	for _, part := range []any{macho.MagicFat, uint32(len(slices)), headers} {
		if err := binary.Write(&all, binary.BigEndian, part); err != nil {
			return fmt.Errorf("writing the header of the universal binary: %w", err)
		}
	}
	for i, content := range contents {
		all.Write(make([]byte, int(headers[i].Offset)-all.Len()))
		all.Write(content)
	}
	if err := os.WriteFile(path, all.Bytes(), 0o755); err != nil {
		return fmt.Errorf("writing the universal binary: %w", err)
	}
	return nil
}
