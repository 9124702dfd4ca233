"""The people of the lab: what each one's device does, and what the result must be.

One table feeds everything: the accounts of the Exchange stand-in, the directory, the devices and
what they are checked against. Names and passwords are examples.
"""

from dataclasses import dataclass, replace

from eas_redirect.lab.ldif_export import DirectoryRelationship, DirectoryUser
from eas_redirect.lab.legacy_exchange import LabAccount, Treatment
from eas_redirect.lab.phone import DeviceRequest, Phone, basic

PASSWORD = "Example-Passw0rd"  # noqa: S105 - an example that `--keep` prints
DOMAIN = "contoso.example"
HOST = f"mail.{DOMAIN}"
CLOUD = "outlook.office365.com"
FABRIKAM = "mail.fabrikam.example"
CLOUD_DOMAIN = "contoso.mail.onmicrosoft.com"
AUTODISCOVER = f"autodiscover.{DOMAIN}"
CLOUD_AUTODISCOVER = f"autodiscover.{CLOUD_DOMAIN}"


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
    """The required result of one request: what the device gets, and the reason in the journal.
    `host` is the one that a 451 names. None as a reason: not an EAS exchange, so no journal
    line."""

    status: int
    reason: str | None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One person with a device.

    `asks` and `expects` run in parallel. `moved_to` is the domain of the person's targetAddress.
    `arrives` is the status that a device which follows gets at the target in the end. `sent_back`:
    how often the target sends it back to Exchange before it gives up; it asks the last of `asks`
    again each time. `ended`: how many of `asks` wait at Exchange until the proxy ends them.
    """

    name: str
    display_name: str
    model: Model = IPHONE
    story: str
    asks: tuple[DeviceRequest, ...] = (DeviceRequest(),)
    expects: tuple[Expected, ...]
    behaviour: Treatment = Treatment.MOVED
    moved_to: str | None = CLOUD_DOMAIN
    down_level: bool = False
    gzip: bool = False
    password: str = PASSWORD
    follows: bool = True
    arrives: int | None = None
    sent_back: int = 0
    knows_redirect: bool = False  # of Autodiscover: asks on at the new address
    ended: int = 0

    @property
    def adds_account(self) -> bool:
        """Whether the device begins with Autodiscover."""
        return self.asks[0].is_question

    @property
    def new_address(self) -> str | None:
        return f"{self.name}@{self.moved_to}" if self.moved_to else None

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
    def account(self) -> LabAccount:
        return LabAccount(
            name=self.name,
            user_principal_name=self.user_principal_name,
            password=PASSWORD,
            behaviour=self.behaviour,
            gzip=self.gzip,
            sent_back=self.sent_back > 0,
            new_address=self.new_address,
        )

    @property
    def directory_user(self) -> DirectoryUser:
        """As the directory has it in the end."""
        return DirectoryUser(
            name=self.name,
            display_name=self.display_name,
            user_principal_name=self.user_principal_name,
            has_mailbox=self.moved_to is None,
            target_address=f"SMTP:{self.new_address}" if self.new_address else None,
        )

    @property
    def directory_user_before(self) -> DirectoryUser:
        """The same while the mailbox is still at Exchange."""
        return replace(self.directory_user, has_mailbox=True, target_address=None)

    def make_device(self) -> Phone:
        return Phone(
            id=f"LAB{self.name.upper()}01",
            type=self.model.device_type,
            user_agent=self.model.user_agent,
            user=self.logon,
            authorization=basic(self.logon, self.password),
        )


RELATIONSHIPS = (
    DirectoryRelationship(
        name="On-premises to O365",
        domain_names=(CLOUD_DOMAIN, "contoso.onmicrosoft.com"),
        target_owa_url="http://outlook.com/owa/contoso.onmicrosoft.com",
    ),
    DirectoryRelationship(
        name="Fabrikam",
        domain_names=("fabrikam.example",),
        target_owa_url=f"https://{FABRIKAM}/owa",
    ),
    DirectoryRelationship(
        name="Wingtip (ended)",
        domain_names=("wingtip.example",),
        target_owa_url="https://mail.wingtip.example/owa",
        enabled=False,
    ),
    DirectoryRelationship(name="Northwind", domain_names=("northwind.example",)),
    DirectoryRelationship(
        name="Ourselves by mistake",
        domain_names=("loop.example",),
        target_owa_url=f"https://{HOST}/owa",
    ),
)


TO_CLOUD = Expected(status=451, reason="mailbox_moved", host=CLOUD)
TO_FABRIKAM = Expected(status=451, reason="mailbox_moved", host=FABRIKAM)


def passes(status: int, reason: str | None) -> Expected:
    return Expected(status=status, reason=reason)


ADDED = DeviceRequest("Autodiscover", query="none")

PERSONAS = (
    Persona(
        name="anna",
        display_name="Anna Andersson",
        story="moved to the cloud; opens her mail",
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="bruno",
        display_name="Bruno Bianchi",
        model=SAMSUNG,
        story=r"moved; signs in the old way, as CONTOSO\bruno",
        down_level=True,
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="carla",
        display_name="Carla Costa",
        model=ANDROID,
        story="moved; her phone packs its query into base64",
        asks=(DeviceRequest("Sync", "14.0", "base64"),),
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="dora",
        display_name="Dóra Dvořák",
        story="moved; her phone first asks what the server can do",
        asks=(DeviceRequest("OPTIONS", query="none"),),
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="emil",
        display_name="Emil Eriksson",
        story="his mailbox moves while his phone waits for new mail",
        asks=(DeviceRequest("FolderSync"), DeviceRequest("Ping")),
        behaviour=Treatment.LEAVING,
        expects=(passes(200, "other_answer"), TO_CLOUD),
        arrives=200,
    ),
    Persona(
        name="farid",
        display_name="Farid Faizi",
        model=SAMSUNG,
        story="moved; Exchange compresses its answers to him",
        gzip=True,
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="gina",
        display_name="Gina Gallo",
        model=ANDROID,
        story="moved; her new phone speaks 16.1, which Exchange cannot read",
        asks=(DeviceRequest(version="16.1"),),
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="hana",
        display_name="Hana Horáková",
        story="moved to a partner's Exchange instead of the cloud",
        moved_to="fabrikam.example",
        expects=(TO_FABRIKAM,),
        arrives=200,
    ),
    Persona(
        name="ivo",
        display_name="Ivo Ivanov",
        model=WINDOWS,
        story="moved; his tablet ignores the 451 and keeps coming back",
        asks=(DeviceRequest(), DeviceRequest(), DeviceRequest()),
        follows=False,
        expects=(TO_CLOUD, TO_CLOUD, TO_CLOUD),
    ),
    Persona(
        name="jana",
        display_name="Jana Jansen",
        story="never moved; her mail is on the old server",
        behaviour=Treatment.MAILBOX,
        moved_to=None,
        expects=(passes(200, "other_answer"),),
    ),
    Persona(
        name="karl",
        display_name="Karl König",
        model=ANDROID,
        story="never moved; his phone is blocked by an administrator",
        behaviour=Treatment.BLOCKED,
        moved_to=None,
        expects=(passes(403, "recipient_has_mailbox"),),
    ),
    Persona(
        name="lena",
        display_name="Lena Larsen",
        story="never moved; her phone must accept a policy first",
        behaviour=Treatment.NEEDS_POLICY,
        moved_to=None,
        expects=(passes(200, "other_answer"),),
    ),
    Persona(
        name="marc",
        display_name="Marc Moreau",
        model=NOKIA,
        story="moved; his old phone speaks 12.1, which predates the 451",
        asks=(DeviceRequest(version="12.1"),),
        expects=(passes(403, "protocol_version_too_low"),),
    ),
    Persona(
        name="nora",
        display_name="Nora Nilsen",
        story="moved to a domain that no relationship knows",
        moved_to="tailspin.example",
        expects=(passes(200, "no_relationship"),),
    ),
    Persona(
        name="olga",
        display_name="Olga Orlova",
        story="moved to a partner whose relationship is switched off",
        moved_to="wingtip.example",
        expects=(passes(200, "relationship_disabled"),),
    ),
    Persona(
        name="pete",
        display_name="Pete Parker",
        story="moved to a partner whose relationship has no TargetOwaURL",
        moved_to="northwind.example",
        expects=(passes(200, "no_target_owa_url"),),
    ),
    Persona(
        name="rosa",
        display_name="Rosa Ramos",
        story="the directory would send her back here: a loop",
        moved_to="loop.example",
        expects=(passes(200, "redirect_loop"),),
    ),
    Persona(
        name="sven",
        display_name="Sven Svensson",
        story="moved; Exchange itself knows where and says so",
        behaviour=Treatment.NATIVE_REDIRECT,
        moved_to="fabrikam.example",
        expects=(Expected(status=451, reason="native_redirect", host=FABRIKAM),),
        arrives=200,
    ),
    Persona(
        name="tara",
        display_name="Tara Tan",
        model=ANDROID,
        story="moved; mistypes her password",
        password="Exampel-Passw0rd",  # noqa: S106 - the wrong one
        expects=(passes(401, "unauthenticated"),),
    ),
    Persona(
        name="uma",
        display_name="Uma Usman",
        story="moved; the new server sends her back here, in circles",
        moved_to="fabrikam.example",
        expects=(TO_FABRIKAM, TO_FABRIKAM),
        sent_back=1,
        arrives=451,
    ),
    Persona(
        name="vera",
        display_name="Vera Varga",
        model=ANDROID,
        story="moved; adds her account again; her phone knows Settings alone",
        asks=(ADDED,),
        expects=(Expected(status=200, reason="mailbox_moved", host=CLOUD),),
        arrives=200,
    ),
    Persona(
        name="willem",
        display_name="Willem Wolf",
        story="moved; adds his account again; his phone follows Redirect",
        asks=(ADDED,),
        knows_redirect=True,
        expects=(passes(200, "autodiscover_client_not_listed"),),
        arrives=200,
    ),
    Persona(
        name="xenia",
        display_name="Xenia Xavier",
        story="her mailbox moves while her phone waits, and Exchange tells nobody",
        asks=(DeviceRequest("FolderSync"), DeviceRequest("Ping"), DeviceRequest("FolderSync")),
        behaviour=Treatment.UNTOLD,
        ended=1,
        expects=(
            passes(200, "other_answer"),
            Expected(status=200, reason="mailbox_moved"),
            TO_CLOUD,
        ),
        arrives=200,
    ),
)
