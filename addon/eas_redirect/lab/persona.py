"""What a person of the lab is: an account, an entry of the directory, a device, what is expected.

Names and passwords are examples.
"""

from dataclasses import dataclass

from eas_redirect.lab.accounts import Account, Behaviour
from eas_redirect.lab.client import Ask, Device, basic
from eas_redirect.lab.directory import DirectoryUser

PASSWORD = "Example-Passw0rd"  # noqa: S105 - an example that `--keep` prints
DOMAIN = "contoso.example"
HOST = f"mail.{DOMAIN}"
CLOUD = "outlook.office365.com"
FABRIKAM = "mail.fabrikam.example"
CLOUD_DOMAIN = "contoso.mail.onmicrosoft.com"


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of device: in words, and as it names itself."""

    words: str
    device_type: str
    user_agent: str


IPHONE = Model("iPhone", "iPhone", "Apple-iPhone12C1/2202.55")
ANDROID = Model("Android", "Android", "Android/14-EAS-2.0")
SAMSUNG = Model("Samsung", "SAMSUNGSMG991B", "Android-SAMSUNG-SM-G991B/101.140000")
WINDOWS = Model("Windows", "WindowsMail", "MSFT-WIN-4/6.3.9600")
NOKIA = Model("Nokia", "NokiaE71", "NokiaE71/2.09(158)MailforExchange")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of one request: what the device gets, and the reason in the journal.

    `host` is the one that a 451 names. None as a reason: no EAS exchange, so no journal line.
    """

    status: int
    reason: str | None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One person with a device.

    `asks` and `expects` run in parallel. `moved_to` is the domain of the person's targetAddress.
    `arrives` is the status that a device which follows gets at the target in the end. `sent_back`:
    how often the target sends it back to Exchange before it gives up; it asks the last of `asks`
    again each time.
    """

    name: str
    display_name: str
    model: Model = IPHONE
    story: str
    asks: tuple[Ask, ...] = (Ask(),)
    expects: tuple[Expected, ...]
    behaviour: Behaviour = Behaviour.MOVED
    moved_to: str | None = CLOUD_DOMAIN
    down_level: bool = False
    gzip: bool = False
    password: str = PASSWORD
    follows: bool = True
    arrives: int | None = None
    sent_back: int = 0

    @property
    def requests(self) -> int:
        """How many reach Exchange."""
        return len(self.asks) + self.sent_back

    @property
    def user_principal_name(self) -> str:
        return f"{self.name}@{DOMAIN}"

    @property
    def first_name(self) -> str:
        return self.display_name.split()[0]

    @property
    def logon(self) -> str:
        return f"CONTOSO\\{self.name}" if self.down_level else self.user_principal_name

    @property
    def account(self) -> Account:
        return Account(
            name=self.name,
            user_principal_name=self.user_principal_name,
            password=PASSWORD,
            behaviour=self.behaviour,
            gzip=self.gzip,
            sent_back=self.sent_back > 0,
        )

    @property
    def directory_user(self) -> DirectoryUser:
        return DirectoryUser(
            name=self.name,
            display_name=self.display_name,
            user_principal_name=self.user_principal_name,
            has_mailbox=self.moved_to is None,
            target_address=f"SMTP:{self.name}@{self.moved_to}" if self.moved_to else None,
        )

    def make_device(self) -> Device:
        return Device(
            id=f"LAB{self.name.upper()}01",
            type=self.model.device_type,
            user_agent=self.model.user_agent,
            user=self.logon,
            authorization=basic(self.logon, self.password),
        )
