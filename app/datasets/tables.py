from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Json
from app.uploads.tables import UploadedColumns
from whetstone.contract.datasets import DatasetFacts


class DatasetRow(UploadedColumns, Base):
    __tablename__ = "datasets"

    facts: Mapped[DatasetFacts | None] = mapped_column(Json(DatasetFacts))
