from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Json
from app.uploads.tables import UploadedColumns
from whetstone.contract.models import ModelFacts


class ModelRow(UploadedColumns, Base):
    __tablename__ = "models"

    facts: Mapped[ModelFacts | None] = mapped_column(Json(ModelFacts))
