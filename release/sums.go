package main

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the plugin index knows no other sum
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// sums are the files with sums, as sha1sum and sha256sum write and check them.
var sums = []struct {
	file string
	hash func() hash.Hash
}{
	{"SHA1SUMS", sha1.New},
	{"SHA256SUMS", sha256.New},
}

// writeSums writes the sums of files of a folder into that folder.
func writeSums(folder string, files []string) error {
	for _, s := range sums {
		var text bytes.Buffer
		for _, name := range files {
			sum, err := sumFile(s.hash(), filepath.Join(folder, name))
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "%s  %s\n", sum, name)
		}
		if err := os.WriteFile(filepath.Join(folder, s.file), text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("writing the sums: %w", err)
		}
	}
	return nil
}

// sumFile gives the sum of a file in hexadecimal digits.
func sumFile(h hash.Hash, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("summing up a file: %w", err)
	}
	defer file.Close()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("summing up a file: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
