package tickstore

import (
	"reflect"
	"testing"
	"time"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// TestConfigFields sets one field of Config after the other and expects one field of the C configuration to change, each
// its own.
func TestConfigFields(t *testing.T) {
	toC := func(config Config) reflect.Value {
		t.Helper()
		full, err := config.toC()
		must(t, err)
		return reflect.ValueOf(*full)
	}
	elsewhere := map[string]bool{"Path": true, "Preset": true, "Log": true, "BrokerID": true}
	plainly := toC(Config{})
	taken := map[string]string{}
	given := reflect.TypeOf(Config{})
	for i := 0; i < given.NumField(); i++ {
		name := given.Field(i).Name
		if elsewhere[name] {
			continue
		}
		var config Config
		switch field := reflect.ValueOf(&config).Elem().Field(i); field.Interface().(type) {
		case time.Time:
			field.Set(reflect.ValueOf(time.Unix(7, 0)))
		case time.Duration:
			field.SetInt(int64(7 * time.Minute))
		case bool:
			field.SetBool(true)
		case float64:
			field.SetFloat(0.7)
		case QueuePolicy, CrossedPolicy, Synchronous: // none is a default
			field.SetUint(1)
		case Backend:
			field.SetUint(2)
		case LogLevel:
			field.SetInt(int64(LogError))
		default:
			field.SetInt(77)
		}
		changed := ""
		for j, got := 0, toC(config); j < got.NumField(); j++ {
			if got.Field(j).Interface() != plainly.Field(j).Interface() {
				changed += got.Type().Field(j).Name
			}
		}
		if _, found := reflect.TypeOf(ctks.Config{}).FieldByName(changed); !found || taken[changed] != "" {
			t.Errorf("Config.%s sets %q, which %q set before", name, changed, taken[changed])
		}
		taken[changed] = name
	}
	// What is left is filled in elsewhere: by Open, or never.
	left := map[string]bool{"StructSize": true, "Reserved0": true, "Reserved1": true, "Log": true, "LogContext": true,
		"BrokerId": true, "BrokerIdLength": true}
	for i := 0; i < plainly.NumField(); i++ {
		if name := plainly.Type().Field(i).Name; (taken[name] == "") != left[name] {
			t.Errorf("the C field %s is set by %q", name, taken[name])
		}
	}
	for name, config := range map[string]Config{"JournalSyncMs": {JournalSync: None}, "Journal": {NoJournal: true}} {
		if value := toC(config).FieldByName(name).Uint(); value != 0 {
			t.Errorf("%s is %d", name, value)
		}
	}
}
