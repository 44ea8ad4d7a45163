from headrace.jobs.audit.beside import differences

READ = {(0, 3): range(20, 30)}


def row(offset, message="as it was", *, partition=3, **others):
    return {"_incarnation": 0, "_partition": partition, "_offset": offset, "_timestamp": 5, "message": message, **others}


def said(landed, broker, part=0):
    identity = ("a", "s", 700, part)
    one, other = ({identity: [("f.parquet", found) for found in rows]} if rows else {} for rows in (landed, broker))
    return list(differences(one, other, READ))


def test_the_same_event_is_no_difference():
    assert said([row(21)], [row(21)]) == []


def test_what_the_broker_alone_has_is_named_by_its_offset():
    assert said([], [row(21)], part=2) == [
        "agent a, stream s, position 700, part 2: the broker has it at partition 3, offset 21, and no file of its window"
    ]


def test_what_a_file_alone_has_is_named_where_its_offset_was_read():
    assert said([row(21)], []) == [
        "agent a, stream s, position 700: f.parquet has it from partition 3, offset 21, and the broker has no such event"
    ]
    assert said([row(19)], []) == []


def test_a_repeat_whose_first_is_no_longer_in_the_broker_is_no_difference():
    assert said([row(19)], [row(25)]) == []


def test_columns_that_are_other_are_named_and_values_of_another_format_are_none():
    (words,) = said([row(21, "as it is", host=7)], [row(22, "as it was", host="7")])
    assert words.endswith(
        "f.parquet has it with another _offset, message (from character 6 on) than the broker at partition 3, offset 22"
    )
