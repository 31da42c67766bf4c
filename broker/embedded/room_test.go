package embedded

import "testing"

func TestStoreLimit(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	limits := []struct{ free, stored, reserved, want uint64 }{
		{100 * gib, 0, 0, 70 * gib},
		{0, 100 * gib, 0, 70 * gib},
		{60 * gib, 40 * gib, 50 * gib, 70 * gib},
		{10 * gib, 10 * gib, 50 * gib, 50*gib + spare}, // the disk has filled up since
		{0, 0, 0, spare},
	}
	for _, tt := range limits {
		if got := storeLimit(tt.free, tt.stored, tt.reserved); got > tt.want || got+100 < tt.want {
			t.Errorf("storeLimit(%d, %d, %d) = %d, want %d", tt.free, tt.stored, tt.reserved, got, tt.want)
		}
	}
}
