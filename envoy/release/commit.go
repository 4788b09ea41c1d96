package release

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A Commit is a commit of the repository.
type Commit struct {
	ID   string // in hex; "" outside a repository
	Time time.Time
}

// Head returns the commit that is checked out in the directory root.
func Head(ctx context.Context, root string) (Commit, error) {
	output, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return Commit{}, err
	}
	id, seconds, _ := strings.Cut(output, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return Commit{}, fmt.Errorf("git log: time of commit %s: %w", id, err)
	}
	return Commit{ID: id, Time: time.Unix(unix, 0)}, nil
}

// named is the number of changed files that an error names.
const named = 3

// clean returns an error if a file in root differs from head, the commit that is checked out.
func clean(ctx context.Context, root string, head Commit) error {
	output, err := git(ctx, root, "status", "--porcelain")
	if err != nil || output == "" {
		return err
	}
	changes := strings.Split(output, "\n")
	for i, line := range changes {
		_, changes[i], _ = strings.Cut(strings.TrimSpace(line), " ") // the path follows one or two letters
		changes[i] = strings.TrimSpace(changes[i])
	}
	more := ""
	if len(changes) > named {
		changes, more = changes[:named], fmt.Sprintf(" and %d more", len(changes)-named)
	}
	return fmt.Errorf("these files differ from commit %.12s: %s%s: commit or stash the changes first", head.ID, strings.Join(changes, ", "), more)
}

// untagged returns an error if the tag exists and names another commit than head.
func untagged(ctx context.Context, root, tag string, head Commit) error {
	id, err := git(ctx, root, "for-each-ref", "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)", "refs/tags/"+tag)
	if err != nil || id == "" || id == head.ID {
		return err
	}
	return fmt.Errorf("tag %s is commit %.12s, and commit %.12s is checked out: check out the tag, or choose another version", tag, id, head.ID)
}

// git calls git in root and returns what it prints, without the last line's end.
func git(ctx context.Context, root string, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		complaint, _, _ := strings.Cut(string(exit.Stderr), "\n")
		return "", fmt.Errorf("git %s: %s", args[0], strings.TrimPrefix(complaint, "fatal: "))
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimRight(string(output), "\n"), nil
}
