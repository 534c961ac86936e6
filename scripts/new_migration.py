"""Write a migration for what changed in the tables: `python scripts/new_migration.py "add labels"`.

Needs WHETSTONE_DATABASE_URL of a database that is at the newest migration. Read what it wrote before you commit it.
"""

import sys

from alembic import command
from sqlalchemy import create_engine

from app.core.database import async_url
from app.core.migrations import alembic_config
from app.settings import Settings

config = alembic_config()
config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
with create_engine(async_url(Settings().database_url)).connect() as connection:
    config.attributes["connection"] = connection
    command.revision(config, message=sys.argv[1], autogenerate=True)
