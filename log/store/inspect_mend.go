package store

// Salvage takes a segment in which somebody else has found damage out of service, and what is whole of it back into it; the
// damaged file keeps another name. Damage tells, as where a reader finds it. An active segment is sealed first. It reports
// whether the segment was there.
func (s *Store) Salvage(number uint64, cause error) bool {
	d := &DamageError{Segment: number, Err: cause}
	for _, info := range s.Segments() {
		if info.Number == number {
			d.Path = info.Path
		}
	}
	return d.Path != "" && s.quarantine(d)
}
