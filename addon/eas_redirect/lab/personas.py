"""The people of the lab: what each one's device does, and what must come of it.

One table feeds everything: the accounts of the Exchange stand-in, the directory, the devices and
what they are checked against.
"""

from eas_redirect.lab.accounts import Behaviour
from eas_redirect.lab.client import Ask
from eas_redirect.lab.directory import DirectoryRelationship
from eas_redirect.lab.persona import (
    ANDROID,
    CLOUD,
    CLOUD_DOMAIN,
    FABRIKAM,
    HOST,
    NOKIA,
    SAMSUNG,
    WINDOWS,
    Expected,
    Persona,
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
        asks=(Ask("Sync", "14.0", "base64"),),
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="dora",
        display_name="Dóra Dvořák",
        story="moved; her phone first asks what the server can do",
        asks=(Ask("OPTIONS", query="none"),),
        expects=(TO_CLOUD,),
        arrives=200,
    ),
    Persona(
        name="emil",
        display_name="Emil Eriksson",
        story="his mailbox moves while his phone waits for new mail",
        asks=(Ask("FolderSync"), Ask("Ping")),
        behaviour=Behaviour.LEAVING,
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
        asks=(Ask(version="16.1"),),
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
        asks=(Ask(), Ask(), Ask()),
        follows=False,
        expects=(TO_CLOUD, TO_CLOUD, TO_CLOUD),
    ),
    Persona(
        name="jana",
        display_name="Jana Jansen",
        story="never moved; her mail is on the old server",
        behaviour=Behaviour.MAILBOX,
        moved_to=None,
        expects=(passes(200, "other_answer"),),
    ),
    Persona(
        name="karl",
        display_name="Karl König",
        model=ANDROID,
        story="never moved; his phone is blocked by an administrator",
        behaviour=Behaviour.BLOCKED,
        moved_to=None,
        expects=(passes(403, "recipient_has_mailbox"),),
    ),
    Persona(
        name="lena",
        display_name="Lena Larsen",
        story="never moved; her phone must accept a policy first",
        behaviour=Behaviour.NEEDS_POLICY,
        moved_to=None,
        expects=(passes(200, "other_answer"),),
    ),
    Persona(
        name="marc",
        display_name="Marc Moreau",
        model=NOKIA,
        story="moved; his old phone speaks 12.1, which predates the 451",
        asks=(Ask(version="12.1"),),
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
        behaviour=Behaviour.NATIVE_REDIRECT,
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
)
