"""How client quotas are measured; what is allowed to whom is set with AlterClientQuotas."""

from pydantic import Field

from headrace.broker.keys.numbers import Positive
from headrace.config import Section


class QuotaKeys(Section):
    """The windows of a rate."""

    quota_window_num: Positive = Field(
        11, alias="quota.window.num", description="windows over which a client's rate is taken, the current one included"
    )
    quota_window_size_seconds: Positive = Field(
        1, alias="quota.window.size.seconds", description="length of each; also the longest delay for time and connections"
    )
