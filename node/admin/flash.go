package admin

// Flash is what the log and its device have written in the last 24 hours, and how long they can go on.
type Flash struct {
	DayBytes       int64   `json:"day_bytes"`        // that the log wrote in the last 24 hours, earlier starts included
	DayDeviceBytes int64   `json:"day_device_bytes"` // that the whole device wrote, as far as nodes ran; -1: unknown
	Known          float64 `json:"known_seconds"`    // how much of the last 24 hours is known

	Budget     int64   `json:"budget_bytes"` // log.write_budget; -1: unlimited
	BudgetUsed float64 `json:"budget_used"`  // DayBytes over Budget; 0 without one
	Exceeding  bool    `json:"exceeding"`    // more than the budget was written
	Linger     float64 `json:"linger_seconds"`
	MinLinger  float64 `json:"min_linger_seconds"` // commit.linger
	MaxLinger  float64 `json:"max_linger_seconds"` // how long commits are held open at most

	Medium    string  `json:"medium,omitempty"` // like "SD card"
	Endurance int64   `json:"endurance_bytes"`  // log.card_endurance; 0: unknown
	Written   int64   `json:"written_bytes"`    // to the device so far, as far as anybody has counted
	LifeUsed  float64 `json:"life_used"`        // share of its life that an eMMC says is used at most, 1.1 if all and more; 0: unknown
	YearsLeft float64 `json:"years_left"`       // at the rate of the last 24 hours; -1: unknown
}
