"""Where the emulator's Lambda is known to differ from AWS, put right:
- GetFunction tells a reserved concurrency of 0, as of any other number: the emulator takes 0 for none
"""
from localstack.services.lambda_.invocation.lambda_models import Function


class Reserved(int):
    def __bool__(self):
        return True


def install():
    def get(self):
        return self.__dict__.get("reserved")

    def put(self, value):
        self.__dict__["reserved"] = None if value is None else Reserved(value)

    Function.reserved_concurrent_executions = property(get, put)
