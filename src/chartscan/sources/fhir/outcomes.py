"""How a line without events ends: filtered or quarantined, with a reason without content."""


class Filtered(Exception):
    """A deliberate exclusion, such as a cancelled order."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Quarantined(Exception):
    """A record that cannot be used; `reason` is a catalogue code and short name."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Duplicate(Exception):
    """The line repeats a resource of which another line is the valid version."""


TAGGED_DELETED = "tagged deleted"
TEST_PATIENT = "test patient"
TEST_DATA = "test data"
DELETED_PATIENT = "deleted patient"
UNDATED = "undated"  # it has no time at all

MALFORMED = "B02 malformed_json"
TRUNCATED = "B01 truncated_line"
TRAILING = "B04 trailing_junk"
CARRIAGE_RETURNS = "B05 lines_end_with_carriage_return"
ENCODING = "B07 bad_encoding"
SURROGATE = "B08 lone_surrogate"
WRAPPED_TOO_DEEP = "B09 wrapped_too_deep"
WRAPPED_DATA = "B09 wrapped_data_unreadable"
CONTAINED_LIST = "B09 resources_inside_list"
OVERSIZE = "B10 line_too_long"
NESTING = "B11 nested_too_deep"
DOUBLED_KEY = "B12 doubled_key"
BAD_GZIP = "B13 broken_gzip"
BAD_ARCHIVE = "B13 broken_archive"
NO_TYPE = "B17 no_resource_type"
WRONG_TYPE = "B17 field_of_wrong_type"
NO_ID = "B23 missing_id"
NO_SUBJECT = "B23 missing_subject"
UNKNOWN_PATIENT = "B28 unknown_patient"
MERGE_CYCLE = "B29 merge_cycle"
UNCLEAR_DELETION = "B31 unclear_deletion"
MODIFIED = "B38 modifier_extension"
BAD_TIME = "B43 invalid_time"
