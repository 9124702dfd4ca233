"""Requests and answers of Autodiscover, as clients and servers write them."""

N = "http://schemas.microsoft.com/exchange/autodiscover"
LOCATION = "https://new.example.test/Microsoft-Server-ActiveSync"
OLD = "https://mail.example.test/Microsoft-Server-ActiveSync"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
USER = (
    "<Culture>en:us</Culture><User><DisplayName>Anna Example</DisplayName>"
    "<EMailAddress>anna@example.test</EMailAddress></User>"
)
MOVED_TO = "anna@contoso.mail.onmicrosoft.com"


def request(
    address: str = "anna@example.test",
    schema: str = f"{N}/mobilesync/responseschema/2006",
    declaration: str = DECLARATION,
) -> str:
    return (
        f'{declaration}<Autodiscover xmlns="{N}/mobilesync/requestschema/2006"><Request>'
        f"<EMailAddress>{address}</EMailAddress>"
        f"<AcceptableResponseSchema>{schema}</AcceptableResponseSchema></Request></Autodiscover>"
    )


def answer(body: str, declaration: str = DECLARATION) -> str:
    return (
        f'{declaration}<Autodiscover xmlns="{N}/responseschema/2006">'
        f'<Response xmlns="{N}/mobilesync/responseschema/2006">{body}</Response></Autodiscover>'
    )


def settings(url: str = LOCATION) -> str:
    return (
        "<Action><Settings><Server><Type>MobileSync</Type>"
        f"<Url>{url}</Url><Name>{url}</Name></Server></Settings></Action>"
    )


def redirect(address: str = MOVED_TO) -> str:
    return f"<Action><Redirect>{address}</Redirect></Action>"


def error(status: str = "2", data: str = "MailUser") -> str:
    return (
        f"<Action><Error><Status>{status}</Status><Message>not reached</Message>"
        f"<DebugData>{data}</DebugData></Error></Action>"
    )


FRAMEWORK_ERROR = (
    f'{DECLARATION}<Autodiscover xmlns="{N}/responseschema/2006"><Response>'
    '<Error Time="10:20:30.1234567" Id="1054084152"><ErrorCode>600</ErrorCode>'
    "<Message>Invalid Request</Message><DebugData/></Error></Response></Autodiscover>"
)
DOCTYPE = '<?xml version="1.0"?><!DOCTYPE Autodiscover [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
OUTLOOK_ANSWER = (
    f'{DECLARATION}<Autodiscover xmlns="{N}/responseschema/2006">'
    f'<Response xmlns="{N}/outlook/responseschema/2006a"><Account><Action>redirectAddr</Action>'
    f"<RedirectAddr>{MOVED_TO}</RedirectAddr></Account></Response></Autodiscover>"
)
OUTLOOK_REQUEST = (
    f'{DECLARATION}<Autodiscover xmlns="{N}/outlook/requestschema/2006"><Request>'
    "<EMailAddress>anna@example.test</EMailAddress>"
    f"<AcceptableResponseSchema>{N}/outlook/responseschema/2006a</AcceptableResponseSchema>"
    "</Request></Autodiscover>"
)
