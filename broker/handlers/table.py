"""Which API keys are served, and by whom. What is not here is neither advertised nor answered."""

from headrace.broker.handlers.api import Api

APIS: dict[int, Api] = {
    api.key: api
    for api in (
        # the data path
        # groups and offsets
    )
}
