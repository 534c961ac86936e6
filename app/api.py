"""Table of contents: every router."""

from fastapi import APIRouter

from app.artifacts.endpoints import router as artifacts
from app.audit.endpoints import router as audit
from app.checks.endpoints import router as checks
from app.closing.endpoints import router as closing
from app.core.health import router as health
from app.datasets.endpoints import router as datasets
from app.export.endpoints import router as export
from app.fleet.endpoints import router as worker_protocol
from app.fleet.endpoints import targets_router as targets
from app.identity.endpoints import router as identity
from app.jobs.endpoints import router as jobs
from app.keys.endpoints import login_router as login
from app.keys.endpoints import router as keys
from app.members.endpoints import router as members
from app.members.second_factor import router as second_factor
from app.members.sessions import router as browser_sessions
from app.models.endpoints import router as models
from app.oidc.endpoints import router as oidc
from app.pages.endpoints import router as pages
from app.provenance.endpoints import router as provenance
from app.resets.endpoints import router as resets
from app.retention.endpoints import router as retention
from app.service_accounts.endpoints import router as service_accounts
from app.shares.endpoints import router as shares
from app.templates.endpoints import router as templates
from app.uploads.endpoints import router as uploads
from app.usage.endpoints import router as usage
from app.webhooks.endpoints import router as webhooks

ROUTERS: tuple[APIRouter, ...] = (
    jobs,
    worker_protocol,
    models,
    datasets,
    uploads,
    artifacts,
    checks,
    templates,
    shares,
    provenance,
    targets,
    webhooks,
    identity,
    second_factor,
    login,
    browser_sessions,
    oidc,
    keys,
    service_accounts,
    members,
    resets,
    usage,
    audit,
    retention,
    closing,
    export,
    health,
    pages,
)
"""Each is asked in turn whose a request is, so those that are asked for most come first."""
