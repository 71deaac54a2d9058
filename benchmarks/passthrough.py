"""The least that a proxy in Python can do: aiohttp in, aiohttp out, bytes passed on as they come.

python benchmarks/passthrough.py --upstream http://HOST:PORT --port PORT
"""

import argparse

import aiohttp
import uvloop
from aiohttp import web


def _application(upstream: str) -> web.Application:
    async def passed_on(request: web.Request) -> web.StreamResponse:
        headers, body = {"Content-Type": "application/json"}, await request.read()
        async with session().request(request.method, upstream + request.path, data=body, headers=headers) as answer:
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    application = web.Application()
    sessions: list[aiohttp.ClientSession] = []

    def session() -> aiohttp.ClientSession:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        return sessions[0]

    application.router.add_route("*", "/{path:.*}", passed_on)
    return application


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.install()
    web.run_app(_application(arguments.upstream), host="127.0.0.1", port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
